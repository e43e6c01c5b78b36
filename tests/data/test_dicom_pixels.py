"""DICOM radiographs: real ones, in every transfer syntax, and objects that have to be refused."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from hilum.data import bounded
from hilum.data import bounded as dicom
from hilum.data.bounded import read_dicom
from hilum.data.images import read_picture, read_radiograph
from hilum.errors import ImageError

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless  # noqa: E402

from dicom_objects import LOSSLESS, PIXELS, TWELVE, data_file, encoded, radiograph, transcoded  # noqa: E402


def pixels_of(dataset):
    return read_dicom(encoded(dataset))[0].pixels


def test_a_window_over_the_whole_range_gives_what_a_png_gives():
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    np.testing.assert_allclose(pixels_of(radiograph()), read_picture(buffer.getvalue()).pixels, atol=1e-6)


def test_polarity_window_and_rescaling_are_those_of_the_standard():
    plain = pixels_of(radiograph())
    np.testing.assert_allclose(pixels_of(radiograph(PhotometricInterpretation="MONOCHROME1")), 1 - plain, atol=1e-6)
    inverse = radiograph(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    np.testing.assert_allclose(pixels_of(inverse), 1 - plain, atol=1e-6)  # once, not twice
    narrow = pixels_of(radiograph(WindowCenter=100, WindowWidth=50))
    assert narrow[PIXELS <= 75].max() == 0  # PS3.3 C.11.2.1.2.1: up to c - 0.5 - (w - 1) / 2
    assert narrow[PIXELS > 124].min() == 1
    shifted = radiograph(RescaleSlope=2, RescaleIntercept=-100, WindowCenter=2 * 128 - 100, WindowWidth=2 * 255 + 1)
    np.testing.assert_allclose(pixels_of(shifted), plain, atol=0.004)
    two = radiograph(WindowCenter=[128, 10], WindowWidth=[256, 20])
    np.testing.assert_allclose(pixels_of(two), plain, atol=1e-6)  # the first
    for without in (radiograph(WindowWidth=0.5), radiograph(WindowCenter=None, WindowWidth=None)):
        found = pixels_of(without)
        assert found.min() == 0
        assert found.max() == 1
        assert np.corrcoef(found.ravel(), plain.ravel())[0, 1] > 0.99


def test_a_window_that_is_none_is_passed_over_with_a_note():
    plain = pixels_of(radiograph(WindowCenter=None, WindowWidth=None))
    picture, notes = read_dicom(encoded(radiograph(WindowWidth=0.5)))
    np.testing.assert_array_equal(picture.pixels, plain)
    assert len(notes) == 1
    exact = radiograph(WindowCenter=100, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT")  # valid for this function
    assert read_dicom(encoded(exact))[1] == ()
    second = radiograph(WindowCenter=[10, 128], WindowWidth=[-1, 256])
    np.testing.assert_allclose(pixels_of(second), pixels_of(radiograph()), atol=1e-6)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("WindowWidth", value) for value in (0, -1, "-inf", "inf", "nan", [0, -5])),
        *((name, value) for name in ("WindowCenter", "RescaleSlope", "RescaleIntercept") for value in ("nan", "-inf")),
        ("RescaleSlope", "1e308"),  # its products are not finite
        ("RescaleSlope", ["nan", 1]),
    ],
)
def test_what_would_give_no_finite_pixels_is_refused(keyword, value):
    with pytest.raises(ImageError) as caught:
        read_dicom(encoded(radiograph(**{keyword: value})), "x.dcm")
    assert "308" not in str(caught.value)  # no value is quoted


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("elements", [{}, {"PixelPaddingValue": 3}, {"PhotometricInterpretation": "MONOCHROME1"}])
def test_rendering_each_value_once_gives_what_rendering_each_pixel_gives(dtype, elements, monkeypatch):
    from hilum.data import dicom_pixels as dicom_rendering

    generator = np.random.default_rng(0)
    stored = generator.normal(100, 30, (70, 50)).clip(0, 255).astype(dtype)
    for window in ({"WindowCenter": None, "WindowWidth": None}, {}, {"RescaleSlope": 1.7, "RescaleIntercept": -20}):
        dataset = radiograph(stored, PixelRepresentation=int(dtype == np.int16), **elements, **window)
        monkeypatch.setattr(dicom_rendering, "MOST_VALUES", 2**17)
        once = dicom_rendering.render(stored, dataset, [])
        monkeypatch.setattr(dicom_rendering, "MOST_VALUES", 0)
        np.testing.assert_array_equal(dicom_rendering.render(stored, dataset, []), once)
        inside = stored[stored != 3] if "PixelPaddingValue" in elements else stored
        if window.get("WindowWidth", 1) is None:
            low, high = np.percentile(inside.astype(float), dicom_rendering.SCALED)
            expected = ((stored - low) / (high - low)).clip(0, 1)
            expected = 1 - expected if "PhotometricInterpretation" in elements else expected
            np.testing.assert_array_equal(once[stored != 3], expected.astype(np.float32)[stored != 3])


def test_a_process_that_ends_within_its_answer_is_one_images_error(monkeypatch, refuses):
    answer = '{"shape": [100, 100], "notes": []}'
    monkeypatch.setattr(bounded, "START", f"import sys; sys.stdin.buffer.readline(); print({answer!r}, flush=True)")
    bounded._workers.end()
    with refuses(ImageError, "broke-down"):
        read_dicom(encoded(radiograph()), "x.dcm")


def table(entries, first=0, bits=12, words=True, **more):
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.LUTData = np.asarray(entries).astype("<u2" if words else "u1").tobytes()
    item["LUTData"].VR = "OW"
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return [item]


@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_tables_of_every_depth_are_looked_up(kind):
    window = {"WindowCenter": 2048, "WindowWidth": 4096} if kind == "ModalityLUTSequence" else {}
    for bits in (10, 12, 14, 16):
        ramp = np.arange(256) * (2**bits - 1) / 255
        scale = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits} if window else {}
        found = pixels_of(radiograph(**{kind: table(ramp.round(), bits=bits, ModalityLUTType="US")}, **scale))
        np.testing.assert_allclose(found, PIXELS / 255, atol=1e-3)
    eight = table(np.arange(256), bits=8, words=False, ModalityLUTType="US")
    np.testing.assert_allclose(pixels_of(radiograph(**{kind: eight})), PIXELS / 255, atol=0.005)
    beyond = pixels_of(radiograph(VOILUTSequence=table([0, 4095], first=100)))
    np.testing.assert_array_equal(beyond, PIXELS > 100)  # below the first entry its value, above the last that
    understated = pixels_of(radiograph(VOILUTSequence=table(np.arange(256) * 16, bits=8)))
    np.testing.assert_allclose(understated, PIXELS / 255, atol=0.005)


def test_an_empty_rescaling_changes_nothing():
    for empty in ({"RescaleSlope": "", "RescaleIntercept": ""}, {"RescaleSlope": 1}, {"RescaleIntercept": 0}):
        np.testing.assert_array_equal(pixels_of(radiograph(**empty)), pixels_of(radiograph()))


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("limit", [None, -32000])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_padding_is_black_and_out_of_the_scale(polarity, limit, window):
    elements = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1, "PhotometricInterpretation": polarity}
    elements |= {"WindowCenter": None, "WindowWidth": None, **window}
    alone = pixels_of(radiograph(FINE.astype(np.int16), **elements))
    wide = np.full((160, 140), -32768, np.int16)
    wide[:, 20:120] = FINE
    if limit:
        wide[:, :10] = limit
        elements["PixelPaddingRangeLimit"] = limit
    found = pixels_of(radiograph(wide, PixelPaddingValue=-32768, **elements))
    np.testing.assert_allclose(found[:, 20:120], alone, atol=1e-6)
    assert found[:, :20].max() == found[:, 120:].max() == 0


FINE = (PIXELS.astype(np.uint16) * 16).astype(np.uint16)


@pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_syntaxes_give_the_same_pixels(syntax, tmp_path):
    for name, dataset in {
        "8": radiograph(),
        "12": radiograph(FINE, **TWELVE, PhotometricInterpretation="MONOCHROME1"),
    }.items():
        plain = tmp_path / f"{name}.dcm"
        plain.write_bytes(encoded(dataset))
        other = transcoded(plain, syntax, tmp_path)
        np.testing.assert_array_equal(read_dicom(other)[0].pixels, read_dicom(plain)[0].pixels)
        if syntax == "ExplicitVRBigEndian" and name == "12":
            assert FINE.astype(">u2").tobytes() in other.read_bytes()


def test_encoders_of_pydicom_and_of_gdcm_are_read_alike():
    plain = pixels_of(radiograph(FINE, **TWELVE))
    for syntax in (RLELossless, JPEGLSLossless):
        compressed = radiograph(FINE, **TWELVE)
        compressed.compress(syntax)
        np.testing.assert_array_equal(pixels_of(compressed), plain)


def test_a_real_radiograph_in_its_syntaxes():
    plain, notes = read_dicom(data_file("RG1_UNCR.dcm"))
    assert plain.pixels.shape == (1955, 1841)
    assert notes == ()
    np.testing.assert_array_equal(read_dicom(data_file("RG1_J2KR.dcm"))[0].pixels, plain.pixels)
    lossy, before = read_dicom(data_file("RG1_J2KI.dcm"))[0].pixels, read_dicom(data_file("RG1_UNCI.dcm"))[0].pixels
    assert np.abs(lossy - before).mean() < 0.01
    middle, corner = plain.pixels[800:1200, 850:1000].mean(), plain.pixels[700:900, 300:500].mean()
    assert middle > corner  # MONOCHROME1 was inverted: the mediastinum is brighter than the lung


def test_a_leg_and_a_slice_are_refused_by_their_tags(refuses):
    for name in ("RG3_UNCR.dcm", "RG3_J2KR.dcm"):
        with refuses(ImageError, "dicom"):
            read_dicom(data_file(name))
    with refuses(ImageError, "dicom"):
        read_dicom(encoded(radiograph(Modality="CT")))


def lying_about_its_size():
    content = bytearray(data_file("RG1_J2KR.dcm").read_bytes())
    at = content.find(b"\xff\x4f\xff\x51")
    content[at + 8 : at + 16] = struct.pack(">II", 40_000, 40_000)
    return bytes(content)


def deflated():
    dataset = radiograph(np.zeros((4000, 4000), np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return encoded(dataset)


def test_body_parts_are_judged_by_meaning(refuses):
    for part in ("PORT CHEST", "TORAX", ["ABDOMEN", "CHEST"], None, ""):
        assert read_dicom(encoded(radiograph(BodyPartExamined=part)))[1] == ()
    region = pydicom.Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "T-D3000", "SRT", "?"
    assert read_dicom(encoded(radiograph(BodyPartExamined="ODD", AnatomicRegionSequence=[region])))[1] == ()
    content = encoded(radiograph(BodyPartExamined="XXXXXXXXXXXX"))
    for word, encoding in (("ГРУДНА", "utf-8"), ("胸部胸部", "utf-8")):
        typed = content.replace(b"XXXXXXXXXXXX", word.encode(encoding))
        assert read_dicom(typed)[1] == (), word
    (note,) = read_dicom(encoded(radiograph(BodyPartExamined="SECRET")))[1]
    assert "SECRET" not in note
    with refuses(ImageError, "dicom"):
        read_dicom(encoded(radiograph(BodyPartExamined="HAND")))


def test_a_digitised_film_is_read_with_a_note():
    picture, notes = read_dicom(encoded(radiograph(Modality="RG")))
    np.testing.assert_array_equal(picture.pixels, pixels_of(radiograph()))
    assert len(notes) == 1


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian"])
def test_without_a_preamble_it_is_the_same(syntax):
    dataset = radiograph(FINE, **TWELVE)
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    whole = encoded(dataset)
    expected = read_dicom(whole)[0].pixels
    np.testing.assert_array_equal(read_radiograph(whole[132:])[0].pixels, expected)
    bare = io.BytesIO()  # neither preamble nor file meta information, as old archives keep objects
    pydicom.dcmwrite(bare, dataset, implicit_vr=syntax.startswith("I"), little_endian=True, enforce_file_format=False)
    start = bare.getvalue().index(b"\x08\0\x16\0")
    np.testing.assert_array_equal(read_radiograph(bare.getvalue()[start:])[0].pixels, expected)


def test_the_content_decides_and_not_the_name(tmp_path):
    from PIL import Image

    (tmp_path / "x.png").write_bytes(encoded(radiograph()))
    picture, notes = read_radiograph(tmp_path / "x.png")
    np.testing.assert_array_equal(picture.pixels, pixels_of(radiograph()))
    assert len(notes) == 1
    Image.fromarray(PIXELS).save(tmp_path / "y.dcm", format="PNG")
    picture, notes = read_radiograph(tmp_path / "y.dcm")
    np.testing.assert_allclose(picture.pixels, PIXELS / 255, atol=1e-6)
    assert len(notes) == 1


REFUSED = {
    "raw": (lambda: encoded(radiograph(Modality="DX", PresentationIntentType="FOR PROCESSING")), "dicom"),
    "frames": (lambda: encoded(radiograph(NumberOfFrames=12)), "dicom"),
    "too long": (lambda: encoded(radiograph(Rows=60)), "dicom"),
    "huge": (lambda: encoded(radiograph(Rows=65_000, Columns=65_000)), "dicom"),
    "colour": (lambda: encoded(radiograph(PhotometricInterpretation="RGB")), "dicom"),
    "no pixels": (lambda: encoded(radiograph(PixelData=None)), "dicom"),
    "deflated": (deflated, "dicom"),
    "lying": (lying_about_its_size, "dicom"),
    "short": (lambda: encoded(radiograph())[:-5000], "damaged"),
    "empty": (lambda: b"", "dicom"),
    "foreign": (lambda: b"hello" * 200, "dicom"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_refused_in_one_message_without_a_name(kind, refuses):
    make, code = REFUSED[kind]
    with refuses(ImageError, code) as caught:
        read_dicom(make(), "x.dcm")
    text = str(caught.value)
    assert text.startswith("x.dcm: ")
    assert "\n" not in text
    assert "Secret" not in text
    assert "4711" not in text


def test_what_a_reader_has_to_know_is_noted():
    _, notes = read_dicom(encoded(radiograph(ViewPosition="LL", BurnedInAnnotation="YES")))
    assert len(notes) == 2
    assert "lateral" in notes[0]
    assert "burned" in notes[1]


def test_without_the_extra_the_remedy_is_said(monkeypatch, refuses):
    from hilum.errors import ExtraError

    monkeypatch.setattr("hilum.extras.find_spec", lambda name: None)
    with refuses(ExtraError, "extra"):
        read_dicom(b"x")
    with refuses(ExtraError, "extra"):
        dicom.read_facts(Path("x.dcm"))
