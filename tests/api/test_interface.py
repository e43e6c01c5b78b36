"""`import hilum`: the names, what they take, and that they say what the command line says."""

import copy
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score

import hilum
from findings_tables import FINDINGS, findings_frame
from hilum.errors import ImageError, RecipeError, TableError, UsageError
from hilum.evaluation.schema import Metrics

NAMES = {
    *("audit", "train", "evaluate", "compare", "cross_validate", "sweep", "ensemble", "export", "load"),
    *("open_dataset", "open_run", "load_recipe", "set_prior"),
    *("Audit", "Run", "Evaluation", "Comparison", "CrossValidation", "Sweep", "Model"),
    *("FindingsComparison", "FindingsEvaluation"),
    *("Dataset", "Recipe", "Prediction", "HilumError"),
}


def test_the_names_are_pinned_and_documented():
    assert set(hilum.__all__) == NAMES
    assert set(dir(hilum)) >= NAMES
    for name in NAMES:
        assert inspect.getdoc(getattr(hilum, name)), name
    with pytest.raises(AttributeError):
        _ = hilum.nothing
    assert (Path(hilum.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_functions_stay_functions_whatever_is_imported():
    code = "import hilum.auditing, hilum.exporting, hilum; print(callable(hilum.audit), callable(hilum.export))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_import_loads_nothing_heavy():
    code = "import sys, hilum; print([m for m in ('numpy', 'torch', 'scipy', 'rich', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.fixture(name="hilum_command")
def _command(request):
    """The command line; its fixture has the name of the package."""
    return request.getfixturevalue("hilum")


@pytest.fixture
def rows(squares):
    files = sorted(squares.rglob("*.png"))
    return {
        "file": [str(file) for file in files],
        "finding": ["/".join(file.relative_to(squares).parts[1:-1]) for file in files],
        "split": [file.relative_to(squares).parts[0] for file in files],
        "who": [f"p{number // 2}" for number in range(len(files))],
    }


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_frame_is_read_as_the_table_that_it_is(rows, tmp_path, frame):
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    of_csv = hilum.open_dataset(tmp_path / "table.csv", patient_column="who", progress=False)
    of_frame = hilum.open_dataset(frame(rows), patient_column="who", progress=False)
    assert of_frame.labels == of_csv.labels == ("normal", "infected/covid", "infected/non-covid")
    for row, same in zip(of_frame.rows, of_csv.rows, strict=True):
        assert (row.label, row.split, row.patient_id) == (same.label, same.split, same.patient_id)
        assert of_frame.file(row).samefile(of_csv.file(same))


def test_a_frame_may_name_files_of_the_current_folder(squares, monkeypatch):
    monkeypatch.chdir(squares)
    files = [file.relative_to(squares) for file in sorted(squares.rglob("*.png"))]
    frame = pd.DataFrame({"path": [str(file) for file in files], "label": [file.parts[1] for file in files]})
    found = hilum.open_dataset(frame, progress=False)
    assert found.with_patient == 0
    assert found.file(found.rows[0]).is_file()


def test_a_frame_without_labels_is_refused_and_named(rows):
    with pytest.raises(TableError) as caught:
        hilum.open_dataset(pd.DataFrame({"file": rows["file"]}), progress=False)
    assert "data frame" in str(caught.value)
    assert "/tmp" not in str(caught.value)
    for wrong in (7, None, {"a.png"}, [7], []):
        with pytest.raises(UsageError) as caught:
            hilum.audit(wrong, progress=False)
        assert caught.value.code == "no-dataset"
    with pytest.raises(TableError) as missing:  # a list is one of datasets, not of images
        hilum.audit(["a.png"], progress=False)
    assert missing.value.code == "missing"


def test_an_audit_says_what_the_command_says(squares, tmp_path, hilum_command):
    found = hilum.audit(str(squares), progress=False)
    hilum_command("audit", squares, "--out", tmp_path / "out", check=0)
    assert found.to_json() == json.loads((tmp_path / "out" / "audit.json").read_text())
    assert found.passed("error") == (not any(finding.severity == "error" for finding in found.findings))
    page = found.to_html(tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    assert page.read_bytes() == (tmp_path / "out" / "audit.html").read_bytes()
    assert str(found).strip()
    assert "<pre" in found._repr_html_()
    assert repr(found).startswith("<hilum.Audit")


@pytest.fixture(scope="module")
def trained(run_of):
    return hilum.open_run(run_of("flat").path)


def test_a_training_takes_recipe_keys(squares, tmp_path):
    settings = {"epochs": 1, "size": 32, "network__options__width": 4, "network__options__blocks": [1]}
    run = hilum.train(squares, tmp_path / "run", seed=3, progress=False, **settings)
    assert (run.recipe.training.seed, run.recipe.training.epochs, run.recipe.preprocessing.size) == (3, 1, 32)
    assert run.finished
    assert isinstance(run.plot_history(), Figure)
    for wrong in ({"learning_rat": 1}, {"lr": -1.0}, {"training__seed": "x"}):
        with pytest.raises(RecipeError):
            hilum.train(squares, tmp_path / "other", progress=False, **wrong)
    assert not (tmp_path / "other").exists()


def test_an_evaluation_holds_typed_measures_and_predictions(trained, small_evaluation):
    found = hilum.evaluate(trained, progress=False)
    frame = found.predictions.to_pandas()
    assert found.accuracy.value == pytest.approx(accuracy_score(frame["label"], frame["predicted"]))
    assert found.accuracy.low <= found.accuracy.value <= found.accuracy.high
    assert set(found.sensitivity) == set(found.labels) == set(trained.labels)
    assert found.to_json() == json.loads((found.folder / "metrics.json").read_text())
    for figure in (found.plot_roc(), found.plot_calibration(), found.plot_confusion_matrix()):
        assert isinstance(figure, Figure)
    again = hilum.evaluate(predictions=frame)
    for measure in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc", "f1"):
        assert getattr(again, measure) == getattr(found, measure)
    with pytest.raises(UsageError):
        hilum.evaluate()
    with pytest.raises(UsageError):
        hilum.evaluate(trained, predictions=frame)


def test_a_network_is_a_plain_module(trained):
    import torch

    network = trained.network()
    images = torch.rand(2, 1, network.size, network.size)
    with torch.inference_mode():
        assert torch.allclose(network(images).exp().sum(dim=1), torch.ones(2))
        assert network.features(images).shape[0] == 2


def test_a_model_answers_as_scikit_learn_expects(trained, squares, tmp_path):
    exported = hilum.export(trained, tmp_path / "model.onnx", progress=False)
    model = hilum.load(exported)
    files = sorted(squares.rglob("*.png"))[:5]
    probabilities = model.predict_proba(files)
    assert probabilities.shape == (5, len(model.classes_))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert list(model.predict(files)) == list(model.classes_[probabilities.argmax(axis=1)])
    from PIL import Image

    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    for same in (
        [str(file) for file in files],
        pd.Series([str(file) for file in files]),
        np.array([str(file) for file in files]),
        [file.read_bytes() for file in files],
        list(arrays),
        arrays,
        arrays[:, None],
        arrays / 255,
    ):
        np.testing.assert_allclose(model.predict_proba(same), probabilities, atol=1e-5)
    assert model.predict_proba(files[0]).shape == model.predict_proba(arrays[0]).shape == (1, len(model.classes_))
    assert len(model.predict_proba(files[0].parent)) == len(list(files[0].parent.iterdir()))
    assert model.predict_proba([]).shape == (0, len(model.classes_))
    assert {found.decision for found in model.triage(files)} <= {"flag", "clear", "abstain", "undecided"}
    explained = model.explain(files[:1])
    assert explained[0]._repr_png_().startswith(b"\x89PNG")
    assert hilum.load((tmp_path / "model.onnx").read_bytes()).sha256 == model.sha256


def test_what_a_model_cannot_read_is_named(tmp_path):
    model = hilum.load()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        model.predict_proba([bad])
    assert caught.value.path == bad
    assert model.triage([bad])[0].error
    for wrong, code in ((np.zeros((2, 2, 2, 2, 2)), "wrong-shape"), (7, "no-images"), ([None], "no-images")):
        with pytest.raises(UsageError) as caught:
            model.predict_proba(wrong)
        assert caught.value.code == code
    for array in (np.full((64, 64), 7.0), np.full((64, 64), np.nan), np.zeros((2, 2)), np.zeros((64, 64), complex)):
        with pytest.raises(ImageError):
            model.predict_proba(array)


def test_a_report_of_predictions_is_a_page(trained, tmp_path):
    frame = pd.DataFrame({"label": ["a", "b"] * 20, "a": [0.9, 0.2] * 20, "b": [0.1, 0.8] * 20})
    found = hilum.evaluate(predictions=frame, out=tmp_path / "out")
    assert Metrics.read(tmp_path / "out" / "metrics.json", "") == found.metrics
    page = found.to_html(tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "100" in page


def test_two_models_are_compared_by_runs_or_by_predictions(trained, tmp_path, small_evaluation):
    frame = hilum.evaluate(trained, progress=False).predictions.to_pandas()
    other = frame.assign(**{"p:normal": 1.0, "p:infected/covid": 0.0, "p:infected/non-covid": 0.0})
    found = hilum.compare(frame, other.sample(frac=1, random_state=0))
    assert found.result.n_images == len(frame)
    right = (frame["label"] == frame["predicted"]).mean()
    always = (frame["label"] == "normal").mean()
    difference = found.result.rules["argmax"].accuracy.difference.value
    assert difference == pytest.approx(always - right)
    assert found.to_html(tmp_path / "page.html").read_text().startswith("<!doctype html>")
    frame.to_csv(tmp_path / "a.csv", index=False)
    other.to_csv(tmp_path / "b.csv", index=False)
    of_files = hilum.compare(tmp_path / "a.csv", tmp_path / "b.csv", out=tmp_path / "out")
    assert of_files.result.rules == found.result.rules
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == of_files.to_json()
    itself = hilum.compare(trained, str(trained.path), progress=False, out=tmp_path / "runs")
    assert itself.result.one_classifier
    with pytest.raises(UsageError) as caught:
        hilum.compare(frame, trained)
    assert caught.value.code == "two-kinds"


@pytest.mark.slow
def test_series_are_run_and_hold_their_runs(squares, tmp_path, small_evaluation):
    small = {"epochs": 1, "size": 32, "network.options.width": 4, "network.options.blocks": [1]}
    swept = hilum.sweep(
        squares,
        {**{key: [value] for key, value in small.items()}, "lr": [1e-3, 1e-2], "seed": [7]},
        tmp_path / "sweep",
        progress=False,
    )
    assert [trial.settings["training.lr"] for trial in swept.result.trials] == [1e-3, 1e-2]
    assert swept.best.recipe.training.lr == swept.result.choice["training.lr"]
    series = hilum.cross_validate(squares, tmp_path / "series", folds=2, progress=False, **small)
    assert [run.finished for run in series.runs] == [True, True]
    assert series.pooled.metrics.n_images == len(series.predictions.paths) == len(list(squares.rglob("*.png")))
    assert (tmp_path / "series" / "crossval.html").is_file()
    assert str(swept).strip()
    assert str(series).strip()


def test_images_of_pillow_are_read_whatever_their_mode(squares, tmp_path):
    from PIL import Image

    file, model = next(squares.rglob("*.png")), hilum.load()
    expected = model.predict_proba(file)
    image = Image.open(file)
    for same in (image, image.convert("P"), image.convert("RGB"), image.convert("RGBA"), image.convert("LA")):
        np.testing.assert_allclose(model.predict_proba(same), expected, atol=1e-3)
        np.testing.assert_allclose(model.predict_proba([same, same]), np.repeat(expected, 2, axis=0), atol=1e-3)
    wide = np.asarray(image).astype(np.uint16) * 257
    for name, dtype in (("little.tif", "<u2"), ("big.tif", ">u2")):
        Image.fromarray(wide.astype(dtype)).save(file := tmp_path / name)
        np.testing.assert_allclose(model.predict_proba(Image.open(file)), model.predict_proba(file), atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(Image.fromarray(np.float32(wide / 65535))), expected, atol=1e-3)


def test_what_is_no_run_is_said_and_nothing_is_advised_that_would_harm(trained, squares, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    for wrong in (squares, tmp_path / "model.onnx", tmp_path):
        with pytest.raises(hilum.HilumError) as caught:
            hilum.evaluate(wrong)
        assert f"--out {wrong}" not in str(caught.value)
    for wrong in (hilum.load(), 7):
        with pytest.raises(UsageError):
            hilum.evaluate(wrong, squares)
    with pytest.raises(UsageError):
        hilum.evaluate(model=tmp_path / "model.onnx")
    with pytest.raises(UsageError):
        hilum.evaluate(predictions=tmp_path / "p.csv", data=squares)
    with pytest.raises(UsageError):
        hilum.cross_validate(squares, tmp_path / "series", folds=1, progress=False)


def test_a_part_of_a_recipes_table_changes_that_part_only():
    from hilum.api.trainings import recipe_of

    before, after = recipe_of("compact", {}), recipe_of("compact", {"training": {"epochs": 1}})
    assert after.training.model_dump() == {**before.training.model_dump(), "epochs": 1}


@pytest.mark.slow
def test_a_training_repeats_the_audit_of_the_same_data(squares, tmp_path):
    hilum.audit(squares, progress=False)
    small = {"epochs": 1, "size": 32, "network__options__width": 4, "network__options__blocks": [1]}
    assert hilum.train(squares, tmp_path / "run", progress=False, **small).environment.audit.audited


@pytest.mark.ci
def test_several_findings_have_the_measures_of_labels_by_finding(tmp_path):
    frame = findings_frame()
    found = hilum.evaluate(predictions=frame, out=tmp_path / "evaluation")
    assert isinstance(found, hilum.FindingsEvaluation)
    assert found.findings == tuple(FINDINGS)
    assert set(found.auroc) == set(found.sensitivity) == set(FINDINGS)
    assert found.macro.auroc.value == pytest.approx(np.mean([one.value for one in found.auroc.values()]))
    assert isinstance(found.plot_roc(), Figure)
    assert isinstance(found.plot_calibration(), Figure)
    assert all(name in str(found) for name in FINDINGS)
    assert found.to_json()["task"] == "findings"
    assert found.to_html(tmp_path / "page.html").read_text().count("<details open>") == 1
    written = hilum.evaluate(predictions=tmp_path / "evaluation" / "predictions.csv")
    assert written.auroc == found.auroc
    compared = hilum.compare(frame, frame)
    assert isinstance(compared, hilum.FindingsComparison)
    assert set(compared.result.findings) == set(FINDINGS)
    assert "Effusion" in compared.to_html(tmp_path / "comparison.html").read_text()


@pytest.mark.slow
def test_results_and_models_are_sent_to_other_processes(squares):
    frame = pd.DataFrame({"label": ["a", "b"] * 20, "a": [0.9, 0.2] * 20, "b": [0.1, 0.8] * 20})
    model, files = hilum.load(threads=1), sorted(squares.rglob("*.png"))[:3]
    for copied in (lambda given: pickle.loads(pickle.dumps(given)), copy.deepcopy):
        np.testing.assert_array_equal(copied(model).predict_proba(files), model.predict_proba(files))
        for result in (
            hilum.open_dataset(squares, progress=False),
            hilum.audit(squares, progress=False),
            hilum.evaluate(predictions=frame),
            hilum.compare(frame, frame),
            model.triage(files),
        ):
            assert repr(copied(result)) == repr(result)


def test_answers_are_printed_in_a_line_and_say_how_to_get_decisions(trained, squares, tmp_path):
    model = hilum.load(hilum.export(trained, tmp_path / "model.onnx", progress=False))
    files = sorted(squares.rglob("*.png"))[:3]
    (tmp_path / "bad.png").write_bytes(b"no image")
    answers = model.triage([*files, tmp_path / "bad.png"])
    lines = repr(answers).strip("[]").split(">, <")
    assert len(lines) == 4
    assert max(map(len, lines)) < 200
    for found, line in zip(answers, lines, strict=True):
        assert Path(found.path).name in line
        assert (found.error or f"{100 * found.probabilities[found.label]:.1f} %") in line
    undecided = [found for found in answers if found.decision == "undecided"]
    assert undecided
    assert all("hilum certify" in found.reason and "hilum.export" in found.reason for found in undecided)
