"""Ways to damage a file, and to keep what would end its reading too early: the checksums of PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from random import Random

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 100_000)
PNG = b"\x89PNG\r\n\x1a\n"


def mutate(content: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Change a file in one to three places.

    Args:
        content: What it was.
        others: Files of which pieces may come in.
        random: Decides.
    """
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if not changed:
            break
        random.choice(WAYS)(changed, others, random)
    done = bytes(changed)
    return with_checksums(done) if done.startswith(PNG) and random.random() < 0.7 else done


def _bits(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    for _ in range(random.choice([1, 2, 8, 64])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _header(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    for _ in range(random.choice([1, 2, 4])):
        content[random.randrange(min(len(content), 400))] = random.randrange(256)


def _cut(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    del content[random.randrange(len(content)) :]


def _splice(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    other = random.choice(others) if others else bytes(content)
    if other:
        start, at = random.randrange(len(other)), random.randrange(len(content))
        piece = other[start : start + random.randrange(1, 2000)]
        content[at : at + random.choice([0, len(piece)])] = piece


def _number(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    at, width = random.randrange(min(len(content), random.choice([64, 400, len(content)]))), random.choice([1, 2, 4, 8])
    value = random.choice(EXTREMES) & ((1 << 8 * width) - 1)
    content[at : at + width] = value.to_bytes(width, random.choice(["big", "little"]))


def _removal(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    at = random.randrange(len(content))
    del content[at : at + random.choice([1, 4, 16, 200])]


def _repeat(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    at = random.randrange(len(content))
    content[at:at] = content[at : at + random.choice([4, 16, 200])] * random.choice([1, 2, 50])


def _insertion(content: bytearray, others: Sequence[bytes], random: Random) -> None:
    at = random.randrange(len(content))
    content[at:at] = random.randbytes(random.choice([1, 4, 32]))


WAYS = (_bits, _bits, _header, _cut, _splice, _number, _number, _removal, _repeat, _insertion)


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums, as far as their lengths lead."""
    changed, at = bytearray(content), len(PNG)
    while at + 12 <= len(changed):
        end = at + 8 + struct.unpack(">I", changed[at : at + 4])[0]
        if end + 4 > len(changed):
            break
        changed[end : end + 4] = struct.pack(">I", zlib.crc32(changed[at + 4 : end]))
        at = end + 4
    return bytes(changed)
