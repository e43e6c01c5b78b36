"""Simulated radiographs for whoever has none at hand."""

from __future__ import annotations

from functools import cache
from io import BytesIO

from PIL import Image

from hilum.phantoms.radiograph import LABELS, make_phantom

EXAMPLES = 4
SIZE = 512  # pixels a side


@cache
def make_example(number: int) -> bytes:
    """The PNG file of an example.

    Args:
        number: From 1 to `EXAMPLES`.
    """
    phantom = make_phantom(LABELS[(number - 1) % len(LABELS)], seed=2026, patient=number, size=SIZE)
    target = BytesIO()
    Image.fromarray(phantom.image).save(target, "PNG")
    return target.getvalue()
