"""DICOM radiographs: real ones, in every transfer syntax, and objects that have to be refused."""

import io
import struct

import numpy as np
import pytest

from hilum.data.dicom import read_dicom
from hilum.data.images import read_grayscale
from hilum.errors import ImageError

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless  # noqa: E402

from dicom_objects import LOSSLESS, PIXELS, data_file, encoded, radiograph, transcoded  # noqa: E402


def pixels_of(dataset):
    return read_dicom(encoded(dataset))[0].pixels


def test_a_window_over_the_whole_range_gives_what_a_png_gives():
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    np.testing.assert_allclose(pixels_of(radiograph()), read_grayscale(buffer.getvalue()), atol=1e-6)


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
    for without in (radiograph(WindowWidth=0), radiograph(WindowCenter=None, WindowWidth=None)):
        found = pixels_of(without)
        assert found.min() == 0
        assert found.max() == 1
        assert np.corrcoef(found.ravel(), plain.ravel())[0, 1] > 0.99


FINE = (PIXELS.astype(np.uint16) * 16).astype(np.uint16)
TWELVE = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}


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


def test_a_leg_and_a_slice_are_refused_by_their_tags():
    for name in ("RG3_UNCR.dcm", "RG3_J2KR.dcm"):
        with pytest.raises(ImageError, match=r"another body part \(EXTREMITY\), not a chest"):
            read_dicom(data_file(name))
    with pytest.raises(ImageError, match="modality CT, not a radiograph"):
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


REFUSED = {
    "raw": (lambda: encoded(radiograph(Modality="DX", PresentationIntentType="FOR PROCESSING")), "FOR PROCESSING"),
    "frames": (lambda: encoded(radiograph(NumberOfFrames=12)), "holds 12 frames"),
    "huge": (lambda: encoded(radiograph(Rows=65_000, Columns=65_000)), "claims 65000x65000 pixels"),
    "colour": (lambda: encoded(radiograph(PhotometricInterpretation="RGB")), "holds colours"),
    "no pixels": (lambda: encoded(radiograph(PixelData=None)), "holds no pixels"),
    "deflated": (deflated, "a deflated DICOM object"),
    "lying": (lying_about_its_size, "not of the size that its header claims"),
    "short": (lambda: encoded(radiograph())[:-5000], "a damaged DICOM object"),
    "empty": (lambda: b"", "an empty file"),
    "foreign": (lambda: b"hello" * 200, "a text file, not a DICOM object"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_refused_in_one_message_without_a_name(kind):
    make, expected = REFUSED[kind]
    with pytest.raises(ImageError, match=expected) as caught:
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


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    from hilum.data import dicom
    from hilum.errors import ExtraError

    monkeypatch.setattr(dicom, "find_spec", lambda name: None)
    with pytest.raises(ExtraError, match=r"pip install 'hilum\[dicom\]'"):
        read_dicom(b"x")


def test_the_memory_of_a_decoder_is_bounded():
    """A file that makes the decoding process ask for more than its share ends there, not here."""
    code = "from hilum.data import dicom_decoding as d; d._limit(); import numpy; numpy.ones(2**30)"
    import subprocess
    import sys

    pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("only Linux holds a process to its address space")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in result.stderr
