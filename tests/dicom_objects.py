"""DICOM objects for tests: small ones made here, real ones of pydicom-data."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

PIXELS = np.add.outer(np.arange(0, 200), np.arange(0, 120)).astype(np.uint8)[:160, :100]
TWELVE = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}


def radiograph(pixels=PIXELS, **elements):
    """A small CR object; keywords replace its elements, None takes one away."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = pixels.dtype.itemsize * 8
    given = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": "Secret^Name",
        "PatientID": "4711",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        "WindowCenter": 2 ** (bits - 1),
        "WindowWidth": 2**bits,
        "PixelData": pixels.tobytes(),
        **elements,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that the standard forbids are meant
        for keyword, value in given.items():
            if value is not None:
                setattr(dataset, keyword, value)
    return dataset


def encoded(dataset):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def data_file(name):
    store = pytest.importorskip("data_store", reason="pydicom-data is not installed")
    return Path(store.__path__[0]) / "data" / name


# Process 14 is JPEG Lossless with any predictor, SV1 the one that modalities write.
LOSSLESS = {
    "implicit": "ImplicitVRLittleEndian",
    "big-endian": "ExplicitVRBigEndian",
    "RLE": "RLELossless",
    "JPEG-Lossless-14": "JPEGLosslessProcess14",
    "JPEG-Lossless-SV1": "JPEGLosslessProcess14_1",
    "JPEG-LS": "JPEGLSLossless",
    "JPEG-2000": "JPEG2000Lossless",
}


def transcoded(source, syntax, folder):
    """A file of the same object in another transfer syntax of GDCM's."""
    gdcm = pytest.importorskip("gdcm", reason="the extra [dicom] is not installed")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    target = folder / f"{source.stem}-{syntax}.dcm"
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(target).file_meta.TransferSyntaxUID == getattr(pydicom.uid, NAMES.get(syntax, syntax))
    return target


NAMES = {
    "JPEGLosslessProcess14": "JPEGLossless",
    "JPEGLosslessProcess14_1": "JPEGLosslessSV1",
    "JPEGBaselineProcess1": "JPEGBaseline8Bit",
}
