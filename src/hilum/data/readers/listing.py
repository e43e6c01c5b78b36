"""What lies below a folder: images and other files by folder, hidden ones and hilum's own output passed over."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.data.file_kinds import FEW, kind_of, looks_like_dicom
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES
from hilum.data.readers.split_names import split_of
from hilum.errors import TableError
from hilum.files import open_regular
from hilum.text import printable

READ = SUFFIXES | DICOM_SUFFIXES
# What systems leave behind beside people's files; names that begin with a dot are passed over as well.
SYSTEM = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir"}
)
KINDS = ("a PNG image", "a JPEG image", "a TIFF image", "a DICOM object")
LONGEST = 200  # letters of a folder's path in a message
MOST_NAMED = 4  # datasets in a message, with their paths
DEMO = ".hilum-demo"  # as hilum.cli.demo leaves it
OWN_PAGE = b'<meta name="generator" content="hilum">'


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder with files in it, or an empty one.

    Attributes:
        parts: Its path relative to the root, name by name; empty for the root.
        images: Names of the files that are read as images, sorted.
        others: Names of all other files, sorted.
        leaf: Whether no folder lies in it.
    """

    parts: tuple[str, ...]
    images: tuple[str, ...]
    others: tuple[str, ...]
    leaf: bool

    @property
    def path(self) -> str:
        """Its path relative to the root, with forward slashes."""
        return "/".join(self.parts)


def list_folders(root: Path) -> tuple[list[Folder], list[str]]:
    """List all folders below `root`, those with the fewest parents first.

    A link to a folder that is listed under its own name, or that holds `root`, is passed over; another link to a folder
    is followed under the link's name. A file without an ending is an image where its first bytes say so.

    Returns:
        The folders, in the order of their paths, and remarks about what was passed over.

    Raises:
        TableError: There is no such folder or it cannot be listed; two links lead to one folder; a folder inside has a
            metadata.csv of its own; or `root` is what hilum itself has drawn.
    """
    walk = _Walk(root)
    walk.run()
    return walk.found, walk.notes


def list_all(root: Path) -> tuple[list[Folder], list[str], list[str]]:
    """As `list_folders`, for whoever asks about each image by itself: labels need not be clear, and nothing is raised.

    Returns:
        The folders, remarks about what was passed over, and a sentence for each folder that cannot be listed.
    """
    walk = _Walk(root, strict=False)
    walk.run()
    return walk.found, walk.notes, walk.unlisted


def ending(name: str) -> str:
    """The ending of a file name in lower case, with its dot; ``.nii.gz`` is one; empty where there is none."""
    stem, dot, last = name.rpartition(".")
    if not dot or not stem:
        return ""
    last = last.strip().lower()
    return f".nii.{last}" if last == "gz" and stem.lower().endswith(".nii") else f".{last}"


def named(names: Iterable[str], most: int = 5) -> str:
    """Names for a message: the first few in order, and how many more there are."""
    ordered = sorted(set(names))
    shown = ", ".join(printable(name) for name in ordered[:most])
    return shown + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def common(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The first names that all paths share."""
    ordered = sorted(paths)
    if not ordered:
        return ()
    low, high = ordered[0], ordered[-1]  # whatever these two share, all share
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:same]


def around(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders that are around everything; images that lie in them directly do not count."""
    holders = {path[:depth] for path in paths for depth in range(len(path))}
    inner = [path for path in paths if path not in holders]
    shared = common(inner)
    return shared[:-1] if shared in inner else shared


def inside_tables(root: Path, folders: Sequence[str]) -> TableError:
    """The error where tables lie in folders below the one that was given."""
    them = named(f"'{name}'" for name in folders)
    if all(split_of(name) for name in folders):
        what = "A table of each split is not read."
    else:
        count = "one dataset" if len(folders) == 1 else f"{len(folders)} datasets"
        paths = " or ".join(printable(str(root / name)) for name in folders[:MOST_NAMED])
        more = f" (or one of {len(folders) - MOST_NAMED} more)" if len(folders) > MOST_NAMED else ""
        what = f"{count} inside it? Did you mean {paths}{more}?"
    msg = (
        f"{root}: a metadata.csv is in {them}, not in the given folder. {what} To use all of it, list every "
        f"image in one metadata.csv in {root}."
    )
    return TableError(msg, code="tables-below", path=root)


class _Walk:
    """Real folders first, level by level; then links, in order of their names."""

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        self.root, self.strict = root, strict
        self.unlisted: list[str] = []
        self.found: list[Folder] = []
        self.notes: list[str] = []
        self.tables: list[str] = []
        self.seen: dict[tuple[int, int], tuple[str, bool]] = {}  # by device and inode: its name, and whether linked
        self.waiting: deque[tuple[tuple[str, ...], bool]] = deque([((), False)])
        self.links: list[tuple[str, ...]] = []

    def run(self) -> None:
        above = set(_identities(self.root))
        depth = 0
        while self.waiting or self.links:
            if not self.waiting:
                self.links.sort(reverse=True)
                self._follow(self.links.pop(), above)
                continue
            parts, linked = self.waiting.popleft()
            if len(parts) != depth and self.tables and self.strict:
                break  # before thousands of files below are listed
            depth = len(parts)
            self._list(parts, linked=linked)
        if self.tables and self.strict:
            raise inside_tables(self.root, sorted(self.tables))
        self.found.sort(key=lambda folder: folder.parts)

    def _follow(self, parts: tuple[str, ...], above: set[tuple[int, int]]) -> None:
        name = printable("/".join(parts))
        try:
            status = self.root.joinpath(*parts).stat()
        except OSError:  # taken away since its parent was listed
            return
        identity = (status.st_dev, status.st_ino)
        known, linked = self.seen.get(identity, ("", False))
        if identity in above:
            self.notes.append(f"'{name}' is a link to a parent folder and is skipped")
        elif linked and self.strict:
            msg = (
                f"{self.root}: '{printable(known)}' and '{name}' are links to one folder. Its images would have two "
                "labels or splits: remove one of the links."
            )
            raise TableError(msg, code="linked-twice", path=self.root)
        elif identity in self.seen:
            self.notes.append(f"'{name}' is a link to '{printable(known)}' and is skipped")
        else:
            self.waiting.append((parts, True))

    def _list(self, parts: tuple[str, ...], *, linked: bool) -> None:
        folder = self.root.joinpath(*parts)
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in self.seen:  # mounted twice
                self.notes.append(f"'{printable('/'.join(parts))}' is '{printable(self.seen[identity][0])}' again")
                return
            self.seen[identity] = ("/".join(parts), linked)
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            if parts and isinstance(error, FileNotFoundError):  # taken away since its parent was listed
                return
            shown = str(folder) if len(str(folder)) <= LONGEST else f"{str(folder)[:LONGEST]}... ({len(parts)} deep)"
            msg = f"{shown}: cannot be listed ({error.strerror}). Check the permissions, or move it elsewhere."
            if isinstance(error, FileNotFoundError):
                msg = f"{folder}: no such folder. Give a folder of class folders."
            if self.strict:
                raise TableError(msg) from error
            self.unlisted.append(msg)
            return
        if (parts or self.strict) and _is_own(folder, [entry.name for entry in entries], root=not parts):
            self._own(parts)
            return
        folders = 0
        images: list[str] = []
        others: list[str] = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
                continue
            kind = _kind(entry)
            if kind == "folder":
                folders += 1
                self.waiting.append(((*parts, entry.name), False))
            elif kind == "link":
                folders += 1
                self.links.append((*parts, entry.name))
            elif kind == "file" and entry.is_symlink() and ending(entry.name) not in READ and not _leads(entry):
                name = printable("/".join((*parts, entry.name)))
                self.notes.append(f"WARNING: '{name}' is a broken link: a label may be missing")
            elif kind == "file":
                (images if _is_image(entry) else others).append(entry.name)
                if parts and entry.name.lower() == "metadata.csv":
                    self.tables.append("/".join(parts))
        self.found.append(Folder(parts, tuple(images), tuple(others), leaf=not folders))

    def _own(self, parts: tuple[str, ...]) -> None:
        if not parts:
            msg = f"{self.root}: explanation maps of hilum, not a dataset. Give the folder of the images."
            raise TableError(msg, code="own-pictures", path=self.root)
        self.notes.append(f"left out '{printable('/'.join(parts))}', which hilum wrote")


def _identities(folder: Path) -> Iterable[tuple[int, int]]:
    real = Path(os.path.realpath(folder))
    for place in (real, *real.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        yield status.st_dev, status.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    """``folder``, ``link`` to one, ``file``, or nothing for what is passed over.

    A link that leads nowhere, or a pipe, socket or device under an image's name, is reported as a file that cannot be
    read.
    """
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        return "file" if entry.is_file() or entry.is_symlink() or ending(entry.name) in READ else ""
    except OSError:  # a link to itself
        return "file"


def _leads(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to something that is there."""
    return Path(entry.path).exists()


def _is_image(entry: os.DirEntry[str]) -> bool:
    kind = ending(entry.name)
    if kind in READ:
        return True
    if kind and not kind[1:].isdigit():
        return False
    try:  # DICOM objects are often called IM000001, or by their UID
        with open_regular(entry.path) as file:
            start = file.read(FEW)
    except OSError:
        return False
    return looks_like_dicom(start) or kind_of(start) in KINDS


def _is_own(folder: Path, names: Sequence[str], *, root: bool) -> bool:
    """Whether hilum has written a folder: explained answers, or (unless the user names it) a demo."""
    if DEMO in names:
        return not root
    if "index.html" not in names:
        return False
    try:
        with open_regular(folder / "index.html") as file:
            return OWN_PAGE in file.read(1024)
    except OSError:
        return False
