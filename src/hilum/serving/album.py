"""Explanations in a folder: a picture of each, and pages that show the most urgent ones first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.errors import UsageError
from hilum.serving.album_page import Map, Shown, write_pages
from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle
from hilum.serving.explanation import Explanation
from hilum.serving.overlay import draw, full_colour, is_healthy

QUALITY = 90  # of JPEG, with full resolution of colours: a quarter of what PNG takes, and no visible difference


@dataclass
class Album:
    """Draws explanations into a folder, one by one, and in the end the pages.

    Args:
        folder: Made if it is not there.
        paths: Of all images that are to come; below `folder` they keep what distinguishes them.
        bundle: Whose answers they are.

    Raises:
        UsageError: The folder cannot be made or written to.
    """

    folder: Path
    paths: Sequence[Path]
    bundle: Bundle

    def __post_init__(self) -> None:
        folders = [os.path.abspath(path.parent) for path in self.paths]  # noqa: PTH100 - links are kept
        self.root = os.path.commonpath(folders)
        self.shown: list[Shown] = []
        self.failed: list[Answer] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{self.folder}: cannot be made ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg) from error

    def add(self, path: Path, explanation: Explanation) -> Path:
        """Draw one explanation; the file that was written."""
        relative = os.path.relpath(os.path.abspath(path), self.root)  # noqa: PTH100
        file = self.folder / f"{relative}.jpg"
        sheet = draw(explanation, self.bundle)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            sheet.save(file, "JPEG", quality=QUALITY, subsampling=0)
        except OSError as error:
            msg = f"{file}: cannot be written ({error.strerror or error}). Choose another folder for --explain."
            raise UsageError(msg) from error
        picture = file.relative_to(self.folder).as_posix()
        maps = tuple(
            Map(
                heatmap.child,
                heatmap.decision,
                heatmap.share,
                full_colour(heatmap),
                is_healthy(heatmap, self.bundle),
                explanation.method,
            )
            for heatmap in explanation.heatmaps
        )
        self.shown.append(Shown(picture, sheet.size, relative, explanation.answer, self.truth_of(path), maps))
        return file

    def fail(self, answer: Answer) -> None:
        """Take in an image that could not be read."""
        self.failed.append(answer)

    def truth_of(self, path: Path) -> str:
        """The label that an image's folders name; empty where they name none."""
        folder = f"/{path.absolute().parent.as_posix().strip('/')}/"
        found = [label for label in self.bundle.labels if folder.endswith(f"/{label}/")]
        return max(found, key=len, default="")

    def close(self) -> Path:
        """Write ``index.html``, and ``page-2.html`` and so on where images are many."""
        return write_pages(self.folder, self.shown, self.failed, self.bundle)
