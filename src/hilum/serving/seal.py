"""The bytes around an ONNX model: metadata in front, a hash behind, both ordinary metadata of the ONNX file.

Protobuf lets the parts of a message come in any order, and repeated ones anywhere: a file that begins with one entry
of ``metadata_props`` and ends with another is the same ONNX model to every reader. In front, the metadata tell a file
that was cut short from a foreign one; behind, the hash covers all that comes before it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hilum.errors import BundleError

METADATA, HASH = "hilum", "hilum_sha256"
# As protobuf writes them: fields of a length have their number, times 8, plus 2, then the length. metadata_props is
# field 14 of ModelProto (onnx.proto3); of each entry the key is field 1, and the value field 2.
ENTRY = b"\x72"
KEY = b"\x0a\x05hilum\x12"  # of the first entry; the length of its value follows
TRAILER = b"\x72\x50\x0a\x0chilum_sha256\x12\x40"  # before the 64 digits of the hash
LARGEST_METADATA = 64 * 2**20  # nearly all of it arrays as text
MOST_ITEMS = 10**6  # each takes a hundred bytes when read


def unseal(content: bytes, name: str) -> dict[str, Any]:
    """Check the hash and return the metadata.

    Args:
        content: The whole file.
        name: What messages call it.

    Raises:
        BundleError: It is no bundle, was cut short, or is not what was sealed.
    """
    text = _first_entry(content)
    if text is None:
        msg = f"{name}: {_what_it_is(content)}. Make a bundle with: hilum export RUN model.onnx"
        raise BundleError(msg, code="no-bundle")
    body, end = content[: -len(TRAILER) - 64], content[-len(TRAILER) - 64 :]
    if end[:-64] != TRAILER or len(text) > len(body):
        msg = f"{name}: a bundle that was cut short (its end is missing). Copy it again, or export it anew."
        raise BundleError(msg, code="cut")
    if hashlib.sha256(body).hexdigest().encode() != end[-64:]:
        msg = f"{name}: altered since it was made (its hash does not fit). Copy it again, or export it anew."
        raise BundleError(msg, code="altered")
    try:
        if text.count(b",") > MOST_ITEMS:
            raise MemoryError
        found = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError, MemoryError):  # sealed by something else than `hilum.export.onnx_model.seal`
        found = None
    if not isinstance(found, dict):
        msg = f"{name}: a bundle whose metadata are no JSON object. Export it anew."
        raise BundleError(msg, code="malformed")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose keys comes twice: one reader would take the first value, another one the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key comes twice"
        raise ValueError(msg)
    return found


def _no_number(constant: str) -> float:
    msg = f"{constant} is no JSON"
    raise ValueError(msg)


def _what_it_is(content: bytes) -> str:
    if not content:
        return "an empty file, no bundle"
    start = content[:512]
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in start):
        return "a text file, no bundle"
    if content[:1] == b"\x08" or b"\x12\x07pytorch" in start or b"ir_version" in start:
        return "looks like an ONNX model, but is no hilum bundle (it says nothing of labels and preprocessing)"
    return "no hilum bundle"


def _first_entry(content: bytes) -> bytes | None:
    """The value of the entry with which a bundle begins, as far as it is there; None where none does."""
    if not content.startswith(ENTRY):
        return None
    _, at = _read_length(content, 1)
    if not content.startswith(KEY, at):
        return None
    length, at = _read_length(content, at + len(KEY))
    if length > LARGEST_METADATA:
        return None
    return bytes(content[at : at + length]).ljust(length)


def _read_length(content: bytes, at: int) -> tuple[int, int]:
    """A length of at most five bytes, and where it ends."""
    length = 0
    for shift, byte in enumerate(content[at : at + 5]):
        length |= (byte & 127) << 7 * shift
        if byte < 128:
            return length, at + shift + 1
    return LARGEST_METADATA + 1, at
