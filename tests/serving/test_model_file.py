"""Model files that are whole, and files that are not model files."""

import onnx
import pytest

from crafted_models import metadata_entry
from hilum.errors import ModelFileError
from hilum.exporting.graph import with_metadata
from hilum.serving.model_file import open_model_file
from hilum.serving.onnx_file import read_metadata
from hilum.serving.predictor import Predictor


def test_what_was_written_comes_back():
    metadata = {"labels": ["é", "b"], "number": 0.5, "nothing": None}
    assert read_metadata(with_metadata(metadata, b"model"), "x") == metadata
    for size in (0, 1, 100, 127, 128, 20_000):  # whatever onnx.helper writes, serving reads it without onnx
        assert with_metadata({"a": "é" * size}, b"model").startswith(
            metadata_entry("hilum", f'{{"a":"{"é" * size}"}}'.encode()) + b"model"
        )


def test_a_model_with_metadata_is_the_same_onnx_model(bundle_of):
    content = bundle_of("flat").read_bytes()
    model = onnx.load_from_string(content)
    assert [entry.key for entry in model.metadata_props] == ["hilum", "hilum_sha256"]
    del model.metadata_props[:]
    onnx.checker.check_model(model)


def test_no_altered_byte_is_overlooked():
    whole = with_metadata({"labels": ["a", "b"], "long": "x" * 300}, bytes(range(256)))
    for position in range(len(whole)):
        for change in (1, 0x80):
            altered = bytearray(whole)
            altered[position] ^= change
            with pytest.raises(ModelFileError):
                read_metadata(bytes(altered), "x")


def test_no_missing_byte_is_overlooked():
    whole = with_metadata({"labels": ["a", "b"], "long": "x" * 300}, bytes(range(256)))
    for length in range(len(whole)):
        with pytest.raises(ModelFileError):
            read_metadata(whole[:length], "x")
    with pytest.raises(ModelFileError):
        read_metadata(whole + b"\0", "x")


def test_a_bundle_that_was_cut_short_or_altered_is_refused(bundle_of, tmp_path, refuses):
    content = bundle_of("flat").read_bytes()
    for length in (len(content) // 2, len(content) - 1, 200):
        (tmp_path / "short.onnx").write_bytes(content[:length])
        with refuses(ModelFileError, "cut"):
            open_model_file(tmp_path / "short.onnx")
    for position in (len(content) // 3, len(content) - 1, 500):
        altered = bytearray(content)
        altered[position] ^= 1
        (tmp_path / "altered.onnx").write_bytes(altered)
        with refuses(ModelFileError, "altered"):
            Predictor(tmp_path / "altered.onnx")


def test_what_is_no_bundle_is_told_apart(bundle_of, tmp_path, refuses):
    model = onnx.load(bundle_of("flat"))
    del model.metadata_props[:]
    cases = {
        "foreign.onnx": model.SerializeToString(),
        "empty.onnx": b"",
        "words.onnx": b"version https://git-lfs",
        "noise.onnx": bytes(range(255, 0, -1)) * 9,
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with refuses(ModelFileError, "no-bundle"):
            open_model_file(tmp_path / name)
    with refuses(ModelFileError, "missing"):
        open_model_file(tmp_path / "none.onnx")
    with refuses(ModelFileError, "missing"):
        open_model_file(tmp_path)


def test_a_whole_file_that_is_no_model_is_refused(bundle_of, refuses):
    facts = dict(open_model_file(bundle_of("flat")).facts)
    with refuses(ModelFileError, "refused-graph"):
        open_model_file(with_metadata(facts, b"\x08\x07garbage"))
    with refuses(ModelFileError, "other-format"):
        open_model_file(with_metadata(facts | {"format": 99}, b""))
