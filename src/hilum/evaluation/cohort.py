"""Which images are evaluated: a split of the run, or another dataset whose labels are mapped to the run's."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hilum.data.cache import Images, Unreadable, open_images
from hilum.data.catalogue.entries import citation
from hilum.data.dataset import Dataset, Row, pack
from hilum.data.label_names import same_finding
from hilum.data.multilabel import PREFIX
from hilum.data.options import ReadOptions, mapped
from hilum.data.readers.read import read_table
from hilum.errors import DataError, HilumError, RunError, SplitError, UsageError
from hilum.evaluation.findings_cohort import check_task, findings_as_ours
from hilum.evaluation.leakage import SHOWN, Seen, find_leaks
from hilum.progress import Progress
from hilum.text import printable
from hilum.training.run import UNREADABLE, Run

LEFT_OUT = ""


def parse_map(settings: Sequence[str]) -> dict[str, str]:
    """Read ``THEIRS=OURS``; nothing after the sign leaves a label out.

    Raises:
        UsageError: There is no equals sign, or one label is mapped twice.
    """
    found: dict[str, str] = {}
    for setting in settings:
        theirs, sign, ours = setting.partition("=")
        if not sign or not theirs.strip():
            msg = f"--map-label {setting}: write SRC=DST, such as --map-label covid=infected/covid; SRC= excludes it."
            raise UsageError(msg, code="malformed-mapping")
        if theirs.strip() in found:
            msg = f"--map-label {setting}: '{theirs.strip()}' is mapped twice. Keep one mapping."
            raise UsageError(msg, code="mapped-twice")
        found[theirs.strip()] = ours.strip()
    return found


def match_labels(
    theirs: Sequence[str], ours: Sequence[str], given: Mapping[str, str] | None = None, *, root: Path | str = "data"
) -> dict[str, str]:
    """Find the run's label for each label of other data.

    A label is matched by what was given, else by its whole name, else by its last component, in any spelling that
    reading takes for the same (`same_finding`); all names for healthy are one, and all for COVID-19. Where two of the
    run's labels would do, nothing is guessed.

    Args:
        theirs: The labels of the other data.
        ours: The run's.
        given: What they are, where it is known; empty leaves a label out.
        root: Where the other data lie, for messages.

    Returns:
        One entry for each of `theirs`, empty where it is to be left out.

    Raises:
        SplitError: One of them cannot be matched.
        UsageError: `given` names a label that does not exist.
    """
    given = given or {}
    for label, target in given.items():
        if label not in theirs:
            msg = f"--map-label {label}={target}: {root} has no label '{label}'. Its labels: {', '.join(theirs)}."
            raise UsageError(msg, code="no-such-label")
        if target not in (LEFT_OUT, *ours):
            msg = f"--map-label {label}={target}: the run has no label '{target}'. Its labels: {', '.join(ours)}."
            raise UsageError(msg, code="no-such-target")
    matched = {}
    for label in theirs:
        alike = [name for name in ours if same_finding(name, label)]
        if label in given:
            matched[label] = given[label]
        elif label in ours:
            matched[label] = label
        elif len(alike) == 1:
            matched[label] = alike[0]
        else:
            known = f"its labels: {', '.join(ours)}"
            why = f"possibly {' or '.join(alike)}" if alike else f"unknown to the run ({known})"
            msg = (
                f"{root}: holds the label '{label}', {why}. Map it with --map-label '{label}=DST', or exclude its "
                f"images with --map-label '{label}='."
            )
            raise SplitError(msg, code="unmapped-label")
    return matched


@dataclass(frozen=True)
class EvaluationSet:
    """Images to evaluate on.

    Attributes:
        name: What the evaluation is called: the split, or dataset, split and the start of the data's hash.
        split: Which part of the dataset; ``all`` of one that has no splits.
        images: Decoded by the run's preprocessing.
        whole: All of the run's own images with its splits; None where other data are evaluated.
        dataset: The run's own data with its splits, unreadable files too.
        root: Where they lie.
        own: Whether they are the run's own data.
        unreadable: What had to be left out.
        notes: What has to be known about them.
    """

    name: str
    split: str
    images: Images
    whole: Images | None
    dataset: Dataset
    root: Path
    own: bool
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...]

    @property
    def table(self) -> Dataset:
        """The images with the further columns of their dataset."""
        return self.dataset.take(self.images.positions) if self.own else self.images.table


def select_images(
    run: Run,
    data: Path | Dataset | None,
    split: str,
    progress: Progress,
    *,
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    keep_known: bool = False,
) -> EvaluationSet:
    """Find the images to evaluate on.

    The run's own data are recognised by their content, wherever they lie now: then the run's splits, patients and
    labels count, so that nothing that was trained on is taken for a test. Of other data, whatever the run was trained
    on or chosen by is left out, near-duplicates of it too, and the labels are the run's, matched as `match_labels`
    does.

    Args:
        run: A finished run.
        data: Other data, or the run's own at a new place; by default the run's own.
        split: Which part. Other data without splits are taken whole.
        progress: Told about long work.
        mapping: The run's label for labels of other data; empty to leave them out.
        read: How to read `data`; by default as the run did, where it is what the run was given.
        keep_known: Leave in what the run has seen, for those who look for that themselves.

    Raises:
        RunError: The run's images are gone.
        SplitError: The split is empty or unknown, or holds labels that the run does not know.
        UsageError: `mapping` names a label that does not exist, or the data are the run's own.
    """
    if read is None and isinstance(data, Path) and str(data.resolve()) == run.environment.data.data_argument:
        read = run.read_options
    table = data if isinstance(data, Dataset) else read_table(data, read) if data else run.table()
    if not table.root.exists():
        msg = (
            f"{table.root}: the images that {run.path} was trained on were not found. Move them back, or evaluate them "
            "where they are now: hilum evaluate RUN DATA."
        )
        raise RunError(msg, code="data-gone")
    images = open_images(table, run.preprocessing, progress=progress)
    notes = list(table.notes)
    same = images.digest == run.environment.data.digest
    own = same or data is None
    notes += [] if own else citation(table.layout, mapped(table.options, mapping))
    if own and mapping:
        msg = f"--map-label: {table.root} holds the run's own data, with the run's labels. Omit --map-label."
        raise UsageError(msg)
    if same and data is not None:
        images, table = _as_trained(run, images, table, notes)
    elif own and not same:
        notes.append("WARNING: files have changed since the training")
    undivided = not own and not table.splits
    chosen = images
    if not undivided:
        chosen = images.select([i for i, row in enumerate(images.table.rows) if row.split == split])
    _check_split(chosen.table, images.table, split)
    if not own:
        check_task(chosen.table, run.findings, run.path)
        renamed = findings_as_ours if run.findings else _as_ours
        chosen = renamed(run, chosen, mapping or {}, notes)
        chosen = chosen if keep_known else _without_known(run, chosen, notes, progress)
    if not run.findings:
        _check_labels(run.labels, chosen.table, split)
    failed = {item.path for item in images.unreadable}
    split_of = {row.path: row.split for row in table.rows if row.path in failed}
    left_out = [item for item in images.unreadable if undivided or split_of[item.path] in (split, UNREADABLE)]
    name = split
    if not own:
        given = data if isinstance(data, Path) else table.root
        dataset = (given.parent if given.is_file() else given).resolve().name
        name = "-".join([dataset, *([] if undivided else [split]), images.digest[:8]])
    return EvaluationSet(
        name=name,
        split="all" if undivided else split,
        images=chosen,
        whole=images if own else None,
        dataset=table if own else run.table(),
        root=table.root,
        own=own,
        unreadable=tuple(left_out),
        notes=tuple(notes),
    )


def _as_trained(run: Run, images: Images, table: Dataset, notes: list[str]) -> tuple[Images, Dataset]:
    """The run's own data as they were split for it: labels and patients, too, which may be read otherwise today.

    Further columns are those that the data are given with; where these have none, those that the run keeps.
    """
    kept = zip(table.rows, run.rows, strict=True)
    whole = pack(
        replace(
            row,
            label=trained.label,
            split=trained.split,
            patient_id=trained.patient_id,
            source=row.source or trained.source,
            extra=_columns(row, trained),
        )
        for row, trained in kept
    )
    readable = iter(images.table.rows)
    positions = set(images.positions.tolist())
    rows = pack(replace(row, sha256=next(readable).sha256) for place, row in enumerate(whole) if place in positions)
    others = sum(row.label != now.label for row, now in zip(rows, images.table.rows, strict=True))
    if others:
        notes.append(
            f"WARNING: {others:,} images have other labels here than in training; the labels of the training are used"
        )
    readable_now = replace(images.table, rows=rows, findings=run.findings)
    return replace(images, table=readable_now), replace(table, rows=whole, findings=run.findings)


def _columns(row: Row, trained: Row) -> Mapping[str, str]:
    """The further columns that a row is given with, else those of the training; findings are those of the training."""
    findings = {name: cell for name, cell in trained.extra.items() if name.startswith(PREFIX)}
    return {**row.extra, **findings} if row.extra and findings else row.extra or trained.extra


def seen_before(evaluated: EvaluationSet) -> list[str]:
    """A warning if the run learnt from these images; a comparison says so in its own words."""
    if not evaluated.own or evaluated.split not in ("train", "val"):
        return []
    made = "trained on" if evaluated.split == "train" else "chosen by"
    return [f"WARNING: the run was {made} these images; results are optimistic"]


def with_columns(run: Run, evaluated: EvaluationSet) -> tuple[EvaluationSet, list[str]]:
    """The same with the further columns of the run's dataset, and a note where the run does not keep these.

    A run of an earlier version does not: its dataset is read once more, if it is there.
    """
    table = evaluated.dataset
    if run.keeps_columns or any(row.source or row.extra for row in table.rows):
        return evaluated, []
    given = Path(run.environment.data.data_argument or table.root)
    for place in dict.fromkeys((given, table.root)):
        try:
            found = read_table(place, run.read_options)
        except (HilumError, OSError):
            continue
        there = found.root.resolve() == table.root.resolve()
        if there and any(row.source or row.extra for row in found.rows):
            known = {row.path: row for row in found.rows}
            pairs = ((row, known.get(row.path, row)) for row in table.rows)
            rows = pack(replace(row, source=now.source, extra=now.extra) for row, now in pairs)
            note = f"the run is of an earlier version of hilum: further columns were read from {place}"
            return replace(evaluated, dataset=replace(table, rows=rows)), [note]
    return evaluated, ["the run is of an earlier version of hilum, without further columns, and its dataset has none"]


def _as_ours(run: Run, images: Images, mapping: Mapping[str, str], notes: list[str]) -> Images:
    """The same images under the run's labels; the table's other columns stay."""
    theirs = images.table.labels
    matched = match_labels(theirs, run.labels, mapping, root=images.table.root)
    images = replace(images, table=images.table.with_values("label", (matched[row.label] for row in images.table.rows)))
    renamed = [f"{label} as {ours}" for label, ours in matched.items() if ours not in (label, LEFT_OUT)]
    if renamed:
        notes.append(f"labels were mapped to the run's: {', '.join(renamed)}")
    if LEFT_OUT in matched.values():
        kept = [i for i, row in enumerate(images.table.rows) if row.label != LEFT_OUT]
        names = ", ".join(label for label, ours in matched.items() if ours == LEFT_OUT)
        notes.append(f"{len(images.table) - len(kept)} images of {names} were excluded by --map-label")
        images = images.select(kept)
    if not len(images.table):
        msg = f"{images.table.root}: --map-label excludes every image. Keep at least one label."
        raise SplitError(msg)
    return images


def _without_known(run: Run, images: Images, notes: list[str], progress: Progress) -> Images:
    seen = {row.sha256 for row in run.rows if row.split in ("train", "val")}
    unseen = [i for i, row in enumerate(images.table.rows) if row.sha256 not in seen]
    files = len(images.table) - len(unseen)
    if files:
        notes.append(f"WARNING: {files} images of the run's training or model selection are excluded")
    pictures: dict[int, Seen] = {}
    if unseen:
        images = images.select(unseen)
        pictures, note = find_leaks(run, images, progress)
        notes += [note] if note else []
    if pictures:
        shown = "; ".join(f"{printable(item.path)} = {printable(item.twin)}" for item in [*pictures.values()][:SHOWN])
        notes.append(
            f"WARNING: {len(pictures)} near-duplicates of images of the run's training or model selection are excluded "
            f"({shown}{'; ...' if len(pictures) > SHOWN else ''})"
        )
    kept = [i for i in range(len(images.table)) if i not in pictures]
    if not unseen or not kept:
        count = files + len(pictures)
        msg = f"{images.table.root}: all {count} images are the run's training images. Give other images."
        raise SplitError(msg)
    return images.select(kept) if pictures else images


def _check_split(part: Dataset, whole: Dataset, split: str) -> None:
    if not len(part):
        there = [name for name in whole.splits if name != UNREADABLE]
        close = difflib.get_close_matches(split, there, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Splits there: {', '.join(there)}."
        msg = f"{whole.root}: no readable image in a split '{split}'. {hint} Choose one with --split."
        raise SplitError(msg, code="no-such-split")


def _check_labels(labels: Sequence[str], part: Dataset, split: str) -> None:
    unknown = sorted({row.label for row in part.rows} - set(labels))
    if unknown:
        msg = (
            f"{part.root}: {split} holds the label '{unknown[0]}', unknown to the run (its labels: "
            f"{', '.join(labels)}). Rename the folders to the run's labels."
        )
        raise SplitError(msg)


def run_images(
    run: Run, progress: Progress, *, root: Path | None = None, images: Images | None = None
) -> tuple[Images | None, str]:
    """The run's own images as the network takes them, or None and why there are none.

    Args:
        run: A finished run.
        progress: Told about long work.
        root: Where its data lie now, if they have moved.
        images: The same, where they are open already.
    """
    table = images.table if images else run.table(root)
    try:
        images = images or open_images(table, run.preprocessing, progress=progress)
    except DataError:
        return None, f"the run's images are no longer in {table.root}"
    if images.digest != run.environment.data.digest:
        return None, f"the images in {table.root} are not those of the training"
    return images, ""


def digest_of(table: Dataset) -> str:
    """SHA-256 of who is in a table: files, patients and labels, in no order."""
    lines = sorted(f"{row.sha256} {row.patient_id} {row.label}" for row in table.rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
