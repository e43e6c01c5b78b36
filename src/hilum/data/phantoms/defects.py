"""Defects that can be planted in a phantom dataset, so that what should find them can be tested."""

from dataclasses import dataclass

from hilum.data.phantoms.radiograph import LABELS
from hilum.errors import UsageError

LABEL_DEFECTS: dict[str, str] = {
    "marker": "marker:LABEL[:SHARE]  a bright corner letter on SHARE (0.95) of the label's images, no others",
    "frame": "frame:LABEL           a black border of varying width around the label's images",
    "brightness": "brightness:LABEL      the label's images are displayed brighter",
    "format": "format:LABEL          the label's files are JPEG instead of PNG",
    "size": "size:LABEL            the label's images have 1.25 times as many rows and columns",
    "bytes": "bytes:LABEL           the label's PNG files are stored uncompressed: same pixels, larger files",
}
"""Defects that go with a label, each with its spelling and meaning."""

COUNT_DEFECTS: dict[str, tuple[int, str]] = {
    "duplicates": (
        12,
        "duplicates[:N]        copies of N (12) training images in test, exact or altered in turn",
    ),
    "patient": (5, "patient[:N]           N (5) patients have images on both sides of the split"),
    "mislabel": (10, "mislabel[:N]          N (10) training images lie under a wrong label"),
}
"""Defects that are counted, each with its usual number, spelling and meaning."""

_MARKER_SHARE = 0.95


def _refuse(text: str, why: str) -> UsageError:
    kinds = [*LABEL_DEFECTS.values(), *(spelling for _, spelling in COUNT_DEFECTS.values())]
    listed = "\n".join(f"  {spelling}" for spelling in kinds)
    msg = f"no such defect: {text!r} ({why}). There are:\n{listed}\nLABEL is one of: {', '.join(LABELS)}"
    return UsageError(msg, code="unknown-defect")


@dataclass(frozen=True)
class Defect:
    """One defect to plant.

    Attributes:
        kind: A key of ``LABEL_DEFECTS`` or ``COUNT_DEFECTS``.
        label: The label it goes with; empty for the counted ones.
        share: Share of the label's images that have it, above 0 and at most 1.
        number: How many, for the counted ones; otherwise 0.
    """

    kind: str
    label: str = ""
    share: float = 1.0
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "Defect":
        """Read a defect such as ``marker:infected/covid:0.9`` or ``duplicates:20``.

        Raises:
            UsageError: The text names no defect; the message lists all there are.
        """
        kind, *rest = (part.strip() for part in text.split(":"))
        if kind in COUNT_DEFECTS:
            if not rest:
                return cls(kind, number=COUNT_DEFECTS[kind][0])
            if len(rest) > 1 or not rest[0].isdecimal() or int(rest[0]) < 1:
                raise _refuse(text, f"{kind!r} takes one whole number above 0")
            return cls(kind, number=int(rest[0]))
        if kind not in LABEL_DEFECTS:
            raise _refuse(text, f"unknown kind {kind!r}")
        if not rest or rest[0] not in LABELS:
            raise _refuse(text, f"{kind!r} needs a label, found {rest[0] if rest else 'none'!r}")
        if kind != "marker":
            if len(rest) > 1:
                raise _refuse(text, f"{kind!r} takes a label and nothing more")
            return cls(kind, rest[0])
        try:
            share = float(rest[1]) if len(rest) > 1 else _MARKER_SHARE
        except ValueError:
            share = 0.0
        if len(rest) > 2 or not 0 < share <= 1:
            raise _refuse(text, "the share is a number above 0 and at most 1")
        return cls(kind, rest[0], share)

    def __str__(self) -> str:
        parts = [self.kind, self.label, f"{self.share:g}" if self.kind == "marker" else ""]
        return ":".join([*(part for part in parts if part), *([str(self.number)] if self.number else [])])
