"""Public datasets that their folders and file names describe."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hilum.data.catalogue.entries import title_of
from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.file_search import files_below
from hilum.data.readers.public.assembling import Entry, Layout, assemble
from hilum.data.readers.public.glances import image_samples, is_read
from hilum.errors import TableError
from hilum.text import printable

MOSTLY = 0.8  # of the images that are no masks, by which a folder is one dataset and no collection of several


@dataclass(frozen=True, slots=True)
class TreeLayout:
    """A dataset whose folders and file names say all of an image.

    Attributes:
        name: Key of the catalogue.
        signs: Patterns of paths, all of which have to fit a file; by these the dataset is recognised.
        image: Pattern of the path of an image; other files are skipped.
        entry: From its match to the entry.
        repeated: Pattern of paths in a folder that repeats images of others; empty where there is none.
    """

    name: str
    signs: tuple[str, ...]
    image: str
    entry: Callable[[re.Match[str]], Entry]
    repeated: str = ""

    def layout(self) -> Layout:
        """The layout of such a dataset."""
        return Layout(self.name, self.recognise, self.read)

    def recognise(self, data: Path) -> str | None:
        """The paths by which it is recognised, where files fit all signs."""
        if not data.is_dir():
            return None
        paths = image_samples(data)
        found = [next((path for path in paths if re.fullmatch(sign, path, re.IGNORECASE)), "") for sign in self.signs]
        images = [path for path in paths if "mask" not in path.casefold()]
        fitting = sum(bool(re.fullmatch(self.image, path, re.IGNORECASE)) for path in images)
        if not all(found) or fitting < MOSTLY * len(images):
            return None
        return f"files such as {found[0]}"

    def read(self, data: Path, options: ReadOptions) -> Dataset:
        """Read it.

        Raises:
            TableError: No file is named as in this layout.
        """
        pattern = re.compile(self.image, re.IGNORECASE)
        entries: list[Entry] = []
        others: list[str] = []
        for path in files_below(data):
            match = pattern.fullmatch(path)
            if match:
                entries.append(self.entry(match))
            elif is_read(path):
                others.append(path)
        if not entries:
            msg = (
                f"{data}: --layout {self.name}: no file lies and is named as in {title_of(self.name)}. Give "
                "the folder of the download, or leave --layout out."
            )
            raise TableError(msg, code="not-this-layout", path=data)
        again = [self.repeated and re.fullmatch(self.repeated, entry.file, re.IGNORECASE) for entry in entries]
        if not all(again):
            marked = zip(entries, again, strict=True)
            entries = [replace(entry, left_out="repeated") if twice else entry for entry, twice in marked]
        remark = (
            f"skipped {len(others):,} images that are named otherwise (first: {printable(others[0])})" if others else ""
        )
        return assemble(self.name, data, entries, options, remarks=[remark] if remark else [])
