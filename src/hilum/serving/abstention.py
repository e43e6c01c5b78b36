"""The reference that a bundle carries to tell what is unlike its training images, as JSON holds it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.familiarity import ARRAYS, SIDE, Familiarity
from hilum.errors import BundleError
from hilum.serving.metadata import malformed

FLOATS = ("float16", "float32", "float64")
TYPES = {"features": FLOATS, "layouts": ("uint8",), "feature_distances": FLOATS, "layout_distances": FLOATS}
DIMENSIONS = {"features": 2, "layouts": 2, "feature_distances": 1, "layout_distances": 1}


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


def unpack(facts: Mapping[str, Any] | None, name: str) -> Familiarity | None:
    """Read what `pack` has written; None where there is none.

    Args:
        facts: The entry ``abstention`` of the metadata.
        name: What messages call the bundle.

    Raises:
        BundleError: Arrays or settings are not what can be compared with.
    """
    if facts is None:
        return None
    try:
        found = Familiarity.of({array: _array(facts["arrays"][array], array) for array in ARRAYS}, facts)
        _check(found)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(malformed(name, f"abstention: {what}")) from error
    return found


def _array(part: Mapping[str, Any], name: str) -> NDArray[Any]:
    if part["type"] not in TYPES[name]:
        msg = f"{name} should be of type {' or '.join(TYPES[name])}"
        raise ValueError(msg)
    content = np.frombuffer(b64decode(part["data"], validate=True), np.dtype(part["type"]).newbyteorder("<"))
    if len(part["shape"]) != DIMENSIONS[name] or not all(type(side) is int and side > 0 for side in part["shape"]):
        msg = f"{name} should have {DIMENSIONS[name]} dimensions, none of them empty"
        raise ValueError(msg)
    array = content.reshape(part["shape"])
    if not np.isfinite(array).all():
        msg = f"{name} holds what is no number"
        raise ValueError(msg)
    return array


def _check(found: Familiarity) -> None:
    wrong = {
        "layouts should have 225 columns": found.layouts.shape[1] != SIDE * SIDE,
        "neighbours should be 1 or more": found.neighbours < 1,
        "level should lie between 0 and 1": not 0 < found.level < 1,
        "boundary should be a number": not np.isfinite(found.boundary),
        "wrong should be poses, 0 to 15": not all(type(pose) is int and 0 <= pose < 16 for pose in found.wrong),
        "distances should ascend": any(
            (np.diff(distances) < 0).any() for distances in (found.feature_distances, found.layout_distances)
        ),
    }
    for what, is_so in wrong.items():
        if is_so:
            raise ValueError(what)
