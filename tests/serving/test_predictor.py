"""The predictor: the same answer from file, bytes and array, in order, whatever stands between."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hilum.errors import ImageError
from hilum.evaluation.evaluate import evaluate
from hilum.serving import session
from hilum.serving.predictor import CHUNK, Predictor
from training_runs import KINDS

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.fixture
def predictor(bundle_of):
    return Predictor(bundle_of("flat"))


@pytest.fixture
def files(squares):
    return sorted((squares / "test").rglob("*.png"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_bundle_says_what_the_evaluation_says(kind, bundle_of, run_of, tmp_path):
    predictions = evaluate(run_of(kind), out=tmp_path).predictions
    root = run_of(kind).table().root
    answers = list(Predictor(bundle_of(kind)).predict_many(root / path for path in predictions.paths))
    found = np.array([list(answer.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(found, predictions.probabilities, atol=1e-4)
    assert [answer.label for answer in answers] == [predictions.labels[k] for k in predictions.predicted]


def test_file_bytes_and_array_give_the_same(predictor, files):
    for file in files[:5]:
        expected = predictor.predict(file)
        assert predictor.predict(str(file)) == expected
        for source in (file.read_bytes(), np.asarray(Image.open(file)), np.asarray(Image.open(file)) / np.float32(255)):
            assert predictor.predict(source, str(file)).probabilities == expected.probabilities


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_order_is_kept_and_one_bad_file_stops_nothing(threads, bundle_of, files, tmp_path, refuses):
    (tmp_path / "words.png").write_text("hello")
    mixed = [*files[:30], tmp_path / "words.png", *files[30:], tmp_path / "none.png"] * 3
    predictor = Predictor(bundle_of("flat"), threads=threads)
    answers = list(predictor.predict_many(mixed))
    assert [answer.path for answer in answers] == [str(file) for file in mixed]
    for file, answer in zip(mixed, answers, strict=True):
        if file in files:
            assert answer.probabilities == pytest.approx(predictor.predict(file).probabilities, abs=1e-6)
        else:
            assert answer.error
            assert not answer.probabilities
    with refuses(ImageError, "no-image"):
        predictor.predict(tmp_path / "words.png")


def test_of_large_images_the_network_gets_few_at_a_time(bundle_of, files, monkeypatch):
    """Three of this size and not sixteen; the answers stay the same."""
    expected = list(Predictor(bundle_of("flat")).predict_many(files))
    model = Predictor(bundle_of("flat")).model_file
    monkeypatch.setattr(session, "AREA", 3 * model.size**2 + 1)
    given, run = [], session.Session._run

    def counted(self, pixels, names, runs):
        given.append(len(pixels))
        return run(self, pixels, names, runs)

    monkeypatch.setattr(session.Session, "_run", counted)
    answers = list(Predictor(model).predict_many(files))
    assert max(given) == 3
    for one, other in zip(answers, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_sources_are_taken_no_faster_than_answers(predictor, files):
    """Whatever was not asked for yet is not read: a million files take no more memory than a hundred."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield files[taken % len(files)]

    answers = predictor.predict_many(endless())
    for asked in range(1, 200):
        next(answers)
        assert taken <= asked + (2 * predictor.threads + 2) * CHUNK
    answers.close()


def test_arrays_that_are_no_radiographs_are_refused(predictor, refuses):
    generator = np.random.default_rng(0)
    for wrong, code in [
        (np.zeros((64, 64, 2), np.uint8), "no-radiograph"),
        (generator.random((64, 64)) * 2, "out-of-range"),
        (np.full((64, 64), np.nan), "not-finite"),
        (generator.random((16, 64)), "wrong-size"),
        (generator.integers(0, 2**20, (64, 64)), "too-many-bits"),
        (generator.random((64, 64)) > 0.5, "no-radiograph"),
        (np.full((64, 64), 7, np.uint16), "constant"),
    ]:
        with refuses(ImageError, code):
            predictor.predict(wrong)
    (answer,) = predictor.predict_many([np.zeros((64, 64, 2), np.uint8)])
    assert answer.path == "image 1"
    assert answer.error.startswith("an array of uint8")


def test_a_colour_photograph_is_abstained_on(predictor, tmp_path, snapshot):
    y, x = np.mgrid[0:200, 0:300]
    photograph = np.stack([128 + 100 * np.sin(x / 30), 128 + 100 * np.cos(y / 20), (x + y) / 2], axis=2)
    Image.fromarray(photograph.clip(0, 255).astype(np.uint8)).save(tmp_path / "holiday.jpg")
    answer = predictor.predict(tmp_path / "holiday.jpg")
    assert answer.decision == "abstain"
    snapshot(answer.reason)


def test_grey_stored_as_colour_is_no_photograph(predictor, files, tmp_path):
    Image.open(files[0]).convert("RGB").save(tmp_path / "rgb.png")
    answer, expected = predictor.predict(tmp_path / "rgb.png"), predictor.predict(files[0])
    assert answer.decision == expected.decision != "abstain"
    assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-6)


def test_nothing_heavy_is_imported(bundle_of, files):
    code = (
        "import sys, json\n"
        "from hilum.serving.predictor import Predictor\n"
        f"answers = list(Predictor({str(bundle_of('flat'))!r}).predict_many({[str(file) for file in files[:40]]!r}))\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), len(answers))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, count = result.stdout.rsplit(maxsplit=1)
    heavy = {"torch", "lightning", "monai", "matplotlib", "sklearn", "scipy", "pandas", "onnx", "rich"}
    assert not heavy & set(json.loads(modules))
    assert count == "40"
