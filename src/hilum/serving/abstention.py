"""The reference that a bundle carries to tell what is unlike its training images, as JSON holds it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.data.familiarity import ARRAYS, Familiarity


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is known of one image beside its probabilities.

    Attributes:
        p_value: Share of calibration patients at least as unlike the training images, above 0 and at most 1.
        reason: Why to abstain; empty where there is no reason to.
    """

    p_value: float
    reason: str


def pack(reference: Familiarity, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write a reference as JSON can hold it; arrays as base64 of their little-endian bytes.

    Args:
        reference: A run's (see `hilum.data.familiarity`).
        facts: What ``abstention.json`` says of it.
    """
    arrays = {}
    for name in ARRAYS:
        array = np.asarray(getattr(reference, name))
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        data = b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
        arrays[name] = {"type": array.dtype.name, "shape": list(array.shape), "data": data}
    return {**facts, "arrays": arrays}


def unpack(facts: Mapping[str, Any] | None) -> Familiarity | None:
    """Read what `pack` has written; None where there is none."""
    if not facts:
        return None
    arrays = {
        name: np.frombuffer(b64decode(part["data"]), np.dtype(part["type"]).newbyteorder("<")).reshape(part["shape"])
        for name, part in facts["arrays"].items()
    }
    return Familiarity.of(arrays, facts)
