"""The golden test: whatever container a radiograph comes in, and by whatever way, the answer is the same."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from hilum.data.cache import open_images
from hilum.data.dataset import Dataset, Row
from hilum.data.images import read_picture, reduce
from hilum.evaluation.inference import predict
from hilum.phantoms.radiograph import make_phantom
from hilum.serving.predictor import Predictor

TOLERANCE = 1e-4
SIDE = 620  # larger than any input of the networks here, and not a multiple of them
LOSSLESS = {
    "8.png": lambda image: image,
    "16.png": lambda image: (image.astype(np.uint16) * 257).astype(np.uint16),
    "8.tif": lambda image: image,
    "16.tiff": lambda image: (image.astype(np.uint16) * 257).astype(np.uint16),
    "8.bmp": lambda image: image,
}


@pytest.fixture(scope="module")
def radiographs():
    """Phantoms of each label, 8 bits, not square."""
    labels = ("normal", "infected/covid", "infected/non-covid")
    made = [make_phantom(label, seed=5, patient=k, image=0, size=SIDE) for k, label in enumerate(labels)]
    return [np.asarray(phantom.image)[:, 20:] for phantom in made]


def save(pixels, path):
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("kind", ["flat", "padded", "cascade"])
def test_every_container_gives_the_same_probabilities(kind, bundle_of, radiographs, tmp_path):
    predictor = Predictor(bundle_of(kind))
    for number, pixels in enumerate(radiographs):
        expected = list(predictor.predict(pixels).probabilities.values())
        for name, convert in LOSSLESS.items():
            file = save(convert(pixels), tmp_path / f"{number}-{name}")
            assert list(predictor.predict(file).probabilities.values()) == pytest.approx(expected, abs=TOLERANCE), name
        Image.fromarray(pixels).save(tmp_path / f"{number}.webp", lossless=True)
        answer = predictor.predict(tmp_path / f"{number}.webp")
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=TOLERANCE)


def test_a_jpeg_costs_what_the_compression_costs_and_nothing_else(bundle_of, radiographs, tmp_path):
    predictor = Predictor(bundle_of("flat"))
    for pixels in radiographs:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        answer = predictor.predict(buffer.getvalue())
        decoded = np.asarray(Image.open(buffer))
        assert answer.probabilities == predictor.predict(decoded).probabilities
        original = list(predictor.predict(pixels).probabilities.values())
        assert list(answer.probabilities.values()) == pytest.approx(original, abs=0.02)


def test_detectors_of_10_to_14_bits_give_what_8_bits_give(bundle_of, radiographs, tmp_path):
    predictor = Predictor(bundle_of("flat"))
    for bits in (10, 12, 14):
        for pixels in radiographs:
            fine = np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16)
            assert fine.max() >= 2 ** (bits - 1)
            answer = predictor.predict(save(fine, tmp_path / "fine.png"))
            expected = list(predictor.predict(pixels).probabilities.values())
            assert list(answer.probabilities.values()) == pytest.approx(expected, abs=0.01)


def test_an_original_and_its_reduced_copy_agree_because_the_reduction_is_antialiased(bundle_of):
    """Fine stripes, which a reduction that only picks pixels turns into coarse ones (moire)."""
    predictor = Predictor(bundle_of("flat"))
    size = predictor.model_file.size
    generator = np.random.default_rng(3)
    y, x = np.mgrid[0:2000, 0:2000]
    apart, picked = [], []
    for _ in range(3):
        smooth = np.asarray(Image.fromarray(generator.random((5, 5)).astype(np.float32)).resize((2000, 2000)))
        stripes = 0.25 * (1 + np.sign(np.sin(2 * np.pi * (x * 0.985 + y * 0.17) / (2000 / size))))
        original = (0.5 * smooth + stripes).clip(0, 1).astype(np.float32)
        copy = np.asarray(Image.fromarray(original).resize((150, 150), Image.Resampling.BILINEAR)).clip(0, 1)
        step = 2000 // size
        coarse = original[::step, ::step][:size, :size]
        whole, small, wrong = (
            np.array(list(predictor.predict(source).probabilities.values()))
            for source in (original, (copy * 65535).round().astype(np.uint16), coarse.copy())
        )
        apart.append(np.abs(whole - small).max())
        picked.append(np.abs(whole - wrong).max())
        pixels = reduce(original, size).astype(int) - reduce(copy, size).astype(int)
        assert np.abs(pixels).mean() < 6
    assert max(apart) < 0.05
    assert max(picked) > 2 * max(apart)


@pytest.mark.parametrize("kind", ["flat", "cascade", "ensemble", "vgg", "padded"])
def test_training_graph_library_and_command_line_agree(kind, bundle_of, run_of, radiographs, hilum, tmp_path):
    run = run_of(kind)
    names = [f"{number}.png" for number in range(len(radiographs))]
    for name, pixels in zip(names, radiographs, strict=True):
        save(pixels, tmp_path / name)
    images = open_images(Dataset(tmp_path, tuple(Row(name, "normal") for name in names)), run.recipe.preprocessing)
    with torch.inference_mode():
        trained = predict(run, images, run.labels)
    predictor = Predictor(bundle_of(kind))
    if predictor.model_file.facts["calibration"]["temperatures"]:
        from hilum.stats.calibration import scale

        temperatures = predictor.model_file.facts["calibration"]["temperatures"]
        trained = scale(trained, temperatures, run.labels, run.recipe.hierarchy)
    library = [predictor.predict(tmp_path / name).probabilities for name in names]
    result = hilum("predict", *(tmp_path / name for name in names), "--model", bundle_of(kind), "--json", "-", check=0)
    command = [json.loads(line)["probabilities"] for line in result.stdout.splitlines()]
    for row, one, other in zip(trained, library, command, strict=True):
        np.testing.assert_allclose(list(one.values()), row, atol=TOLERANCE)
        np.testing.assert_allclose(list(other.values()), row, atol=TOLERANCE)


def test_real_radiographs_in_other_containers(seed_cxr, bundle_of, tmp_path):
    predictor = Predictor(bundle_of("flat"))
    for file in sorted((seed_cxr / "val").rglob("*.jpeg"))[:6] or sorted((seed_cxr / "val").rglob("*.jp*g"))[:6]:
        pixels = (read_picture(file).pixels * 255).round().astype(np.uint8)
        expected = list(predictor.predict(file).probabilities.values())
        for name, convert in LOSSLESS.items():
            answer = predictor.predict(save(convert(pixels), tmp_path / name))
            assert list(answer.probabilities.values()) == pytest.approx(expected, abs=TOLERANCE)


def test_dicom_gives_what_png_gives(bundle_of, radiographs, tmp_path):
    pytest.importorskip("pydicom")
    from dicom_objects import encoded, radiograph

    predictor = Predictor(bundle_of("flat"))
    for number, pixels in enumerate(radiographs):
        expected = list(predictor.predict(pixels).probabilities.values())
        (tmp_path / f"{number}.dcm").write_bytes(encoded(radiograph(np.ascontiguousarray(pixels))))
        (tmp_path / f"{number}").write_bytes(encoded(radiograph(255 - pixels, PhotometricInterpretation="MONOCHROME1")))
        for file in (tmp_path / f"{number}.dcm", tmp_path / f"{number}"):
            assert list(predictor.predict(file).probabilities.values()) == pytest.approx(expected, abs=TOLERANCE)


def test_a_real_radiograph_says_the_same_in_every_transfer_syntax(bundle_of):
    pytest.importorskip("pydicom")
    from dicom_objects import data_file

    predictor = Predictor(bundle_of("flat"))
    plain, packed, before, lossy = (
        list(predictor.predict(data_file(f"RG1_{kind}.dcm")).probabilities.values())
        for kind in ("UNCR", "J2KR", "UNCI", "J2KI")
    )
    assert packed == pytest.approx(plain, abs=TOLERANCE)
    assert lossy == pytest.approx(before, abs=0.02)


@pytest.mark.slow
def test_a_real_radiograph_says_the_same_in_every_lossless_syntax_there_is(bundle_of, tmp_path):
    pytest.importorskip("pydicom")
    from dicom_objects import LOSSLESS as SYNTAXES
    from dicom_objects import data_file, transcoded

    predictor, original = Predictor(bundle_of("flat")), data_file("RG1_UNCR.dcm")
    expected = predictor.predict(original).probabilities
    files = [transcoded(original, syntax, tmp_path) for syntax in SYNTAXES.values()]
    for file, answer in zip(files, predictor.predict_many(files), strict=True):
        assert answer.probabilities == pytest.approx(expected, abs=TOLERANCE), file.name
    near = predictor.predict(transcoded(original, "JPEGLSNearLossless", tmp_path)).probabilities
    assert near == pytest.approx(expected, abs=0.02)
