"""Sound files to begin from, one set a kind of input: small, and of as many kinds as hilum reads."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

SIDE = 48
SECRETS = ("Secret", "4711")  # patients' names and numbers of DICOM seeds: no message may hold them


def _grey() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).normal(0, 6, (SIDE, SIDE))
    return (128 + 60 * np.sin(x / 9) + 50 * np.cos(y / 7) + noise).clip(0, 255).astype(np.uint8)


def images() -> list[bytes]:
    """PNG, JPEG, TIFF, BMP, WebP and GIF of one, eight and sixteen bits, grey, coloured, with palette and alpha."""
    grey = Image.fromarray(_grey())
    deep = Image.fromarray(_grey().astype(np.uint16) * 16 + 3)
    colour = Image.merge("RGB", (grey, grey.rotate(3), grey))
    alpha = colour.copy()
    alpha.putalpha(grey)
    exif = Image.Exif()
    exif[0x112] = 6  # orientation
    told = exif.tobytes()
    lossy = grey.convert("F").point(lambda value: value / 255)
    kinds = [
        *((grey, "PNG", {}), (deep, "PNG", {}), (colour.quantize(64), "PNG", {"transparency": 3}), (alpha, "PNG", {})),
        *((grey.convert("1"), "PNG", {}), (grey, "JPEG", {"exif": told}), (colour, "JPEG", {"progressive": True})),
        *((colour.convert("CMYK"), "JPEG", {}), (grey, "BMP", {}), (colour.quantize(64), "BMP", {}), (grey, "GIF", {})),
        *((colour, "WEBP", {"lossless": True}), (alpha, "WEBP", {"exif": told}), (lossy, "TIFF", {})),
        *(
            (grey, "TIFF", {"compression": way})
            for way in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        ),
        *((deep, "TIFF", {"compression": "tiff_lzw"}), (grey.convert("1"), "TIFF", {"compression": "group4"})),
        *((grey, "TIFF", {"big_tiff": True}), (grey, "PPM", {})),
    ]
    return [_saved(*kind) for kind in kinds]


def _saved(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def dicom() -> list[bytes]:
    """Objects in several transfer syntaxes, with and without a window, of both photometric interpretations."""
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    from dicom_objects import encoded, radiograph

    deep = _grey().astype(np.uint16) * 16
    plain = [
        radiograph(_grey()),
        radiograph(deep, BitsStored=12, HighBit=11, RescaleSlope="1.5", RescaleIntercept="-100"),
        radiograph(deep, PhotometricInterpretation="MONOCHROME1", WindowCenter=None, WindowWidth=None),
        radiograph(deep, VOILUTFunction="SIGMOID", PixelSpacing=["0.2", "0.2"]),
    ]
    made = [encoded(item) for item in plain]
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        packed = radiograph(deep)
        packed.compress(syntax)
        made.append(encoded(packed))
    return made


def tables() -> list[bytes]:
    """Labels of the six images of the target as CSV; the first byte says whether the folder is read or the table."""
    rows = [("a.png", "normal", "p1"), ("b.png", "covid", "p2"), ("c.png", "normal", "p3"), ("d.png", "covid", "p4")]
    plain = "path,label,patient_id\n" + "".join(",".join(row) + "\n" for row in rows)
    sides = ("train", "train", "test", "test")
    split = "image;finding;split\r\n" + "".join(f"{a};{b};{s}\r\n" for (a, b, _), s in zip(rows, sides, strict=True))
    tabbed = "filename\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b, _ in rows)
    quoted = 'path,label,notes\n"a.png","normal","a, ""b""\nc"\nb.png,covid,\n'
    return [b"0" + plain.encode(), b"0\xef\xbb\xbf" + split.encode(), b"1" + tabbed.encode(), b"1" + quoted.encode()]


def predictions() -> list[bytes]:
    """A table of probabilities as `hilum evaluate` writes it."""
    return [
        b"path,patient_id,label,predicted,p:normal,p:covid\n"
        b"a.png,p1,normal,normal,0.75000000,0.25000000\nb.png,p2,covid,covid,0.12500000,0.87500000\n"
    ]


def recipes() -> list[bytes]:
    """Recipes that come with hilum."""
    from hilum.training.recipe import load_recipe, recipe_names

    return [load_recipe(name).to_toml().encode() for name in recipe_names()]


def models() -> list[bytes]:
    """Metadata of model files, as JSON."""
    from crafted_models import POINT, facts

    many = facts(
        operating_point={**POINT, "upper_threshold": 0.7, "image_threshold": 0.05},
        certificate={"false_negative_rate": 0.05, "confidence": 0.95},
        label_name={"bad": "Bad (very)"},
    )
    return [json.dumps(item).encode() for item in (facts(), facts(operating_point=POINT), many)]


def ledgers() -> list[bytes]:
    """A ledger of several entries."""
    import tempfile
    from pathlib import Path

    from hilum.evaluation.ledger import Access, image_set, open_ledger

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.jsonl"
        with open_ledger(file) as ledger:
            digest = ledger.add_images(image_set(["ab" * 32, "cd" * 32]))
            ledger.add(Access(images=digest, model="m", run="r", data="d", split="test", least=0, unrecorded=0))
        return [file.read_bytes()]


def records() -> list[bytes]:
    """The record of a cache, as it is written for the images of the fuzz target."""
    from fuzzing.targets import CacheTarget

    with CacheTarget() as target:
        return [target.record.read_bytes()]
