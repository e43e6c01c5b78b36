"""Image files for tests that Pillow cannot write: 16-bit colours, interlaced PNG, every kind of number in TIFF."""

import struct
import zlib

import numpy as np

# Passes of an interlaced PNG: first row, first column, step down, step right (PNG specification, 8.2).
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
COLOUR_TYPE = {1: 0, 3: 2, 2: 4, 4: 6}


def png(values, *, interlaced=False, key=None, sub=True):
    """A PNG of 16 bits a channel: values (H, W, C); the first filter of each line is Sub, where that is asked for."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPE[channels], 0, 0, interlaced)
    passes = [values[y::down, x::right] for y, x, down, right in ADAM7] if interlaced else [values]
    lines = b"".join(_line(line, sub) for part in passes if part.size for line in part)
    transparent = _chunk(b"tRNS", np.array(key, ">u2").tobytes()) if key is not None else b""
    content = _chunk(b"IHDR", header) + transparent + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def _line(line, sub):
    content = np.frombuffer(line.astype(">u2").tobytes(), np.uint8).reshape(len(line), -1)
    if not sub:
        return b"\0" + content.tobytes()
    left = np.vstack([np.zeros_like(content[:1]), content[:-1]])
    return b"\1" + (content - left).tobytes()


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(values, *, order="<", white_is_zero=False, deflate=False):
    """An uncompressed or deflated TIFF of values (H, W) or (H, W, 3) in their own type."""
    bits, kind = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflate else data
    channels = values.shape[2] if values.ndim == 3 else 1
    depths = struct.pack(order + "H" * channels, *[bits] * channels)
    photometric = 2 if channels == 3 else int(not white_is_zero)
    short, long = 3, 4
    tags = [
        (256, long, 1, values.shape[1]),
        (257, long, 1, values.shape[0]),
        (258, short, channels, 8 + 2 + 11 * 12 + 4 if channels > 2 else bits),
        (259, short, 1, 8 if deflate else 1),
        (262, short, 1, photometric),
        (273, long, 1, 8 + 2 + 11 * 12 + 4 + len(depths)),
        (277, short, 1, channels),
        (278, long, 1, values.shape[0]),
        (279, long, 1, len(data)),
        (284, short, 1, 1),
        (339, short, 1, kind),
    ]
    fields = b"".join(
        struct.pack(order + "HHI", tag, form, count)
        + (struct.pack(order + "HH", value, 0) if form == short and count == 1 else struct.pack(order + "I", value))
        for tag, form, count, value in tags
    )
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(tags))
    return start + fields + bytes(4) + depths + data
