"""Class folders: the label is the folder path, without splits, patients and what is around everything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from hilum.data.dataset import Dataset, Row
from hilum.data.labels import word_set, words_of
from hilum.data.readers.folder_kinds import looks_like_masks, without_companions
from hilum.data.readers.layout import Place, places_of
from hilum.data.readers.listing import READ, Folder, ending, list_folders, named
from hilum.data.readers.split_names import split_of
from hilum.errors import TableError
from hilum.text import is_text, printable

# Kinds of files that lie beside images, and are never meant as one.
BESIDE = word_set(
    ".txt .md .rst .csv .tsv .xls .xlsx .ods .doc .docx .odt .pdf .xml .json .jsonl .yaml .yml .toml .ini .cfg .html "
    ".htm .css .js .py .pyc .ipynb .r .m .sh .bat .log .lst .bib .tex .db .sqlite .parquet .feather .pkl .pickle .h5 "
    ".hdf5 .keras .pt .pth .ckpt .onnx .pb .tflite .safetensors .md5 .sha1 .sha256 .url .lnk .ds_store"
)
# Some of these may hold images as numbers: they are no excuse for a class folder without any image.
HOLDING = word_set(".h5 .hdf5 .pkl .pickle .parquet .feather .pt .pth .db .sqlite")
WEIGHTS = word_set("model models weight weights checkpoint checkpoints trained saved log logs output outputs")
UNNAMED = frozenset({"readme", "license", "licence", "copying", "changelog", "makefile", "authors", "citation"})


def read_folders(root: Path) -> Dataset:
    """Read class folders.

    The label is the folder path without the folders of splits (by their names, see
    `hilum.data.readers.split_names`, wherever they stand), of patients, and those around everything.

    Raises:
        TableError: No image is found, a label would get lost, or the folders can be read in more than one way.
    """
    listed, notes = list_folders(root)
    kept, more = without_companions(listed)
    notes += more
    kept, more = _without_repetition(root, kept)
    notes += more
    folders = [folder for folder in kept if folder.images]
    if not folders:
        raise _no_images(root, listed)
    _check_kinds(root, kept, folders)
    places, more = places_of(root, folders)
    notes += more
    rows = [
        Row(path=f"{folder.path}/{name}", label=place.label, split=place.split, patient_id=place.patient)
        for folder, place in zip(folders, places, strict=True)
        if place.label
        for name in folder.images
    ]
    rows.sort(key=lambda row: row.path)
    _check_rows(root, rows, kept, notes)
    _check_masks(root, folders, places)
    notes += _passed_over(kept, _without_images(kept, folders))
    stray = [folder for folder, place in zip(folders, places, strict=True) if not place.label]
    if stray:
        count, first = sum(len(folder.images) for folder in stray), f"{stray[0].path}/{stray[0].images[0]}".lstrip("/")
        notes.append(f"left out {count} images outside class folders (first: {printable(first)})")
    return Dataset(root=root, rows=tuple(rows), notes=tuple(notes))


def _no_images(root: Path, listed: Sequence[Folder]) -> TableError:
    kinds = ", ".join(sorted(suffix.lstrip(".") for suffix in READ))
    count = sum(len(folder.others) for folder in listed)
    images = sum(len(folder.images) for folder in listed)
    seen = f"{count} files of other kinds" if count else "no files at all"
    if images:
        seen = f"only {images} masks, annotations or heatmaps"
    msg = f"{root}: no images ({kinds}) below this folder, {seen}. Is it the right folder?"
    return TableError(msg, code="no-images", path=root)


def _without_repetition(root: Path, folders: Sequence[Folder]) -> tuple[list[Folder], list[str]]:
    """Leave out a folder that repeats all that is beside it, as ``chest_xray/chest_xray`` of a public set does."""
    images = {folder.parts: folder for folder in folders if folder.images}
    # The folder's name taken out of a path gives another one, and labels or splits are left below it.
    tops = {
        parts[: depth + 1]
        for parts in images
        for depth in range(len(parts) - 1)
        if parts[:depth] + parts[depth + 1 :] in images and not split_of(parts[depth])
    }
    for top in sorted(tops, key=lambda parts: (len(parts), parts)):
        inside = {parts: folder for parts, folder in images.items() if parts[: len(top)] == top}
        around = [parts for parts in images if parts[: len(top) - 1] == top[:-1] and len(parts) >= len(top)]
        pairs = [(folder, images.get((*top[:-1], *parts[len(top) :]))) for parts, folder in inside.items()]
        if len(around) == 2 * len(inside) and all(_same_files(root, *pair) for pair in pairs):
            count = sum(len(folder.images) for folder in inside.values())
            note = f"left out '{printable('/'.join(top))}': its {count} images have the names of images beside it"
            return [folder for folder in folders if folder.parts[: len(top)] != top], [note]
    return list(folders), []


def _same_files(root: Path, folder: Folder, twin: Folder | None) -> bool:
    if twin is None or folder.images != twin.images:
        return False
    pairs = ((root / folder.path / name, root / twin.path / name) for name in folder.images)
    try:
        return all(one.stat().st_size == another.stat().st_size for one, another in pairs)
    except OSError:
        return False


def _strange(folder: Folder) -> list[str]:
    """Files that may be meant as images and are not read, those left out that lie there as an image, too."""
    stems = {name.partition(".")[0] for name in folder.images}
    return [
        name
        for name in folder.others
        if ending(name) not in BESIDE and name.lower() not in UNNAMED and name.partition(".")[0] not in stems
    ]


def _check_kinds(root: Path, kept: Sequence[Folder], folders: Sequence[Folder]) -> None:
    """Stop where a label would get lost, since its files are of kinds that are not read."""
    without = _without_images(kept, folders)
    for folder in kept:
        strange = _strange(folder)
        lost = folder in without
        if lost and not WEIGHTS & set(words_of(folder.parts[-1])):
            strange += [name for name in folder.others if ending(name) in HOLDING]
        if folder.parts and strange and (lost or len(strange) > len(folder.images) > 0):
            kinds = ", ".join(f"{count} {kind}" for kind, count in _kinds(strange).most_common(3))
            few = f"{len(folder.images)} of its files are images" if folder.images else "no file in it is an image"
            msg = (
                f"{root}: '{printable(folder.path)}' has {kinds} that hilum does not read; {few}. The label would be "
                f"lost: convert the files to PNG (archives: unpack them), or move the folder elsewhere."
            )
            raise TableError(msg, code="label-without-images")


def _without_images(kept: Sequence[Folder], folders: Sequence[Folder]) -> list[Folder]:
    """Folders without an image, in them or below, that lie as deep as those with images do."""
    depths = {len(folder.parts) for folder in folders} - {0}
    holders = {folder.parts[:depth] for folder in folders for depth in range(len(folder.parts) + 1)}
    return [folder for folder in kept if folder.parts not in holders and len(folder.parts) in depths]


def _kinds(names: Sequence[str]) -> Counter[str]:
    return Counter(printable(ending(name)) or "files without an extension" for name in names)


def _check_rows(root: Path, rows: Sequence[Row], kept: Sequence[Folder], notes: Sequence[str]) -> None:
    strange = next((row.label for row in rows if not is_text(row.label)), None)
    if strange:
        shown = printable(strange)
        msg = f"{root}: the folder name '{shown}' is not UTF-8 text. Rename the folder: it is a label."
        raise TableError(msg, code="not-utf8")
    if not rows:
        count = sum(len(folder.images) for folder in kept)
        msg = (
            f"{root}: {count} images, but none in a class folder. Put each label's images into one folder, or list "
            f"them in a metadata.csv with the columns path and label." + "".join(f" ({note})" for note in notes)
        )
        raise TableError(msg, code="no-class-folder")


def _check_masks(root: Path, folders: Sequence[Folder], places: Sequence[Place]) -> None:
    """Stop at a label whose images are black and white only."""
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for folder, place in zip(folders, places, strict=True):
        if place.label:
            files[place.label] += [root / folder.path / name for name in (folder.images[0], folder.images[-1])]
    masks = [label for label, some in files.items() if looks_like_masks(some)]
    if masks:
        msg = (
            f"{root}: the images of '{printable(masks[0])}' have two grey levels only, like masks. Move them "
            "elsewhere, or give the folder of the images."
        )
        raise TableError(msg, code="masks")


def _passed_over(kept: Sequence[Folder], without: Sequence[Folder]) -> list[str]:
    notes = []
    others = [name for folder in kept for name in folder.others]
    if others:
        kinds = Counter(printable(ending(name)) or "no ending" for name in others)
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        notes.append(f"skipped {len(others)} files that are not images ({shown})")
    partly = {folder.path: strange for folder in kept if folder.images and (strange := _strange(folder))}
    for path, strange in sorted(partly.items())[:5]:
        shown = ", ".join(f"{count} {kind}" for kind, count in _kinds(strange).most_common(3))
        notes.append(f"WARNING: {shown} in '{printable(path)}' are not read")
    if papers := [folder.path for folder in without if folder.others]:
        notes.append(f"WARNING: no images, only other files in {named(papers)}: no labels are read from there")
    empty = [folder.path for folder in kept if folder.leaf and folder.parts and not folder.images and not folder.others]
    if empty:
        notes.append(f"WARNING: no files in {named(empty)}: a label or a part of it may be missing")
    return notes
