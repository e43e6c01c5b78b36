"""Features on disk by content: an image that an encoder has seen is not shown to it again."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache_files import cache_folder, make_private
from hilum.files import append, locked, open_regular

KEY = 16  # bytes of the hash of an image
FOLDER = "features"
Floats = NDArray[np.float32]


class FeatureCache:
    """Features of one encoder: a file to which records are added, each with its checksum.

    A record that was cut, by a full disk or a power failure, is passed over. Where the file cannot be written, features
    are computed again next time.

    Args:
        digest: Hash of all that decides about the features but the image.
        width: Numbers of an image, D.
    """

    def __init__(self, digest: str, width: int) -> None:
        self.file = cache_folder() / FOLDER / f"{digest}.bin"
        self.record = np.dtype([("key", f"V{KEY}"), ("features", "<f4", (width,)), ("check", "<u4")])
        self._known: dict[bytes, Floats] = {}
        self._seen = 0  # bytes of the file
        self._read()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, images: Sequence[bytes]) -> tuple[list[bytes], list[Floats | None]]:
        """The key of each image, and its features where they are known.

        Args:
            images: The values of each, as bytes.
        """
        keys = [hashlib.blake2b(values, digest_size=KEY).digest() for values in images]
        return keys, [self._known.get(key) for key in keys]

    def add(self, keys: Sequence[bytes], features: Floats) -> None:
        """Keep features (N, D) of N images."""
        records = np.empty(len(keys), self.record)
        records["key"] = [np.void(key) for key in keys]
        records["features"] = features
        records["check"] = [_checksum(record) for record in records]
        try:
            make_private(self.file.parents[1])
            make_private(self.file.parent)
            with locked(self.file.with_suffix(".lock"), lambda: None, silence=5.0):
                size = self.file.stat().st_size if self.file.exists() else 0
                torn = -size % self.record.itemsize  # the rest of a record that was cut
                append(self.file, b"\0" * torn + records.tobytes())
        except OSError:
            return
        self._read()

    def _read(self) -> None:
        """Take up whatever was added since, by this process or another."""
        try:
            with open_regular(self.file) as file:
                file.seek(self._seen)
                content = file.read()
        except OSError:
            return
        whole = len(content) // self.record.itemsize * self.record.itemsize
        self._seen += whole
        for record in np.frombuffer(content[:whole], self.record):
            if record["check"] == _checksum(record):
                self._known.setdefault(record["key"].tobytes(), record["features"])


def _checksum(record: np.void) -> int:
    return zlib.crc32(record["features"].tobytes(), zlib.crc32(record["key"].tobytes()))
