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
from hilum.printable import printable
from hilum.serving.bundle import malformed

FLOATS = ("float16", "float32", "float64")
TYPES = {"features": FLOATS, "layouts": ("uint8",), "feature_distances": FLOATS, "layout_distances": FLOATS}
LARGEST = 1e6  # features have length 1, distances are at most 4; float32 squares of these are numbers still
MOST_NEIGHBOURS = 10_000
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


def comparable(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers can be compared with others: finite, and of a size that distances can be computed from."""
    found: NDArray[np.bool_] = np.abs(array.astype(np.float64)) <= LARGEST  # false for NaN
    return found


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
        _check_settings(facts)
        found = Familiarity.of({array: _array(facts["arrays"][array], array) for array in ARRAYS}, facts)
        _check(found)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        what = printable(f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)[:200])
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
    if not comparable(array).all():
        msg = f"{name} holds what is no number, or one above {LARGEST:g}"
        raise ValueError(msg)
    return array


def _check_settings(facts: Mapping[str, Any]) -> None:
    """As JSON holds them: what Python would make a number of (a text, a truth value) is none."""
    neighbours, wrong = facts["neighbours"], facts["wrong"]
    near = type(neighbours) is int and 1 <= neighbours <= MOST_NEIGHBOURS
    _demand(near, f"neighbours should be 1 to {MOST_NEIGHBOURS}")
    _demand(type(facts["level"]) is float and 0 < facts["level"] < 1, "level should lie between 0 and 1")
    boundary = type(facts["boundary"]) in (int, float) and abs(facts["boundary"]) <= LARGEST
    _demand(boundary, "boundary should be a number")
    poses = isinstance(wrong, list) and all(type(pose) is int and 0 <= pose < 16 for pose in wrong)
    _demand(poses, "wrong should be poses, 0 to 15")


def _check(found: Familiarity) -> None:
    _demand(found.layouts.shape[1] == SIDE * SIDE, "layouts should have 225 columns")
    distances = found.feature_distances, found.layout_distances
    _demand(len(distances[0]) == len(distances[1]), "distances should be of the same patients")
    _demand(all((np.diff(values) >= 0).all() for values in distances), "distances should ascend")


def _demand(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)
