"""Cross-validation: everybody is tested once, and never by a network that has seen them."""

import json
import shutil
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from hilum.data.cache import open_images
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.errors import RecipeError, RunError, SplitError
from hilum.evaluation.accesses import read_access
from hilum.evaluation.crossval import crossval
from hilum.evaluation.crossval_schema import CrossValidation, spread_over_folds
from hilum.evaluation.fold_results import pool
from hilum.evaluation.folds import assign_folds
from hilum.evaluation.ledger import Access, ledger_file, read_ledger
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import read_predictions
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from random_datasets import write_pictures
from training_runs import TINY, copy_with_data

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossval")
    data = write_pictures(folder / "data", splits=("train", "test"), patients=9)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HILUM_LEDGER", str(folder / "ledger.jsonl"))
        crossval(data, folder / "cv", load_recipe("compact", [*TINY, "epochs=2"]), folds=3)
    return folder


@pytest.fixture
def done(validated, tmp_path, own_cache):
    copy_with_data(validated, tmp_path)
    (tmp_path / "ledger.jsonl").rename(own_cache / "ledger.jsonl")
    return tmp_path / "cv"


def test_every_image_is_tested_once_and_every_patient_in_one_fold(done):
    pooled = read_predictions(done / "predictions.csv")
    assert len(set(pooled.paths)) == len(pooled.paths) == 2 * 3 * 9 * 2
    folds = defaultdict(set)
    for number in (1, 2, 3):
        run = open_run(done / f"fold-{number}")
        sides = defaultdict(set)
        for row in run.rows:
            sides[row.patient_id].add(row.split)
            if row.split == "test":
                folds[row.patient_id].add(number)
        assert all(len(found) == 1 for found in sides.values())
        assert {row.split for row in run.rows} == {"train", "val", "test"}
    assert all(len(found) == 1 for found in folds.values())
    assert len(folds) == 54


def test_its_folds_are_one_model_to_the_ledger(done):
    accesses = [read_access(done / f"fold-{number}" / "evaluation" / "test") for number in (1, 2, 3)]
    assert [access.access for access in accesses] == [1, 1, 1]
    assert all(access.confirmatory for access in accesses)
    assert len({entry.model for entry in read_ledger(ledger_file()).of(Access)}) == 1


def test_the_pooled_figures_are_those_of_all_predictions(done, snapshot):
    result = json.loads((done / "crossval.json").read_text())
    assert CrossValidation.from_json(result).to_json() == result
    again = measure(read_predictions(done / "predictions.csv"), positive_label="infected/covid")
    assert result["pooled"]["accuracy"] == again.accuracy.as_json()
    assert result["pooled"]["n_images"] == sum(fold["n_images"] for fold in result["per_fold"]) == 108
    confusion = np.sum([fold["confusion"] for fold in result["per_fold"]], axis=0)
    assert result["pooled"]["confusion"] == confusion.tolist()
    values = [fold["accuracy"]["value"] for fold in result["per_fold"]]
    assert result["spread"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert result["spread"]["accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))
    areas = [fold["auroc"]["infected/covid"]["value"] for fold in result["per_fold"]]
    assert min(areas) <= result["pooled"]["auroc"]["infected/covid"]["value"] <= max(areas)
    snapshot(result["notes"][0])


def test_the_interval_over_folds_is_the_published_one():
    """Nadeau and Bengio: the variance of K folds is divided by K / (1 + K/(K - 1)) instead of by K."""
    values = [0.81, 0.78, 0.86, 0.80, 0.83]
    found = spread_over_folds(values)
    scale = np.std(values, ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), scale))


@pytest.mark.ci
def test_resuming_keeps_what_is_done(done, tmp_path, tiny, refuses):
    root = tmp_path / "data"
    recipe = load_recipe("compact", [*tiny, "epochs=2"])
    before = json.loads((done / "crossval.json").read_text())
    kept = (done / "fold-1" / "checkpoints" / "best.safetensors").stat().st_mtime_ns
    with refuses(RunError, "in-the-way"):
        crossval(root, done, recipe, folds=3)
    for gone in ("crossval.json", "predictions.csv", "fold-2/checkpoints/last.safetensors", "fold-3/environment.json"):
        (done / gone).unlink()
    (done / "fold-3" / "checkpoints" / "last.safetensors").unlink()
    root = root.rename(tmp_path / "moved")  # and the data lie elsewhere now
    after = crossval(root, done, recipe, folds=3, resume=True)
    assert after.pooled.confusion == before["pooled"]["confusion"]
    for number in (1, 2):
        assert not open_run(done / f"fold-{number}").environment.resumed
    assert (done / "fold-1" / "checkpoints" / "best.safetensors").stat().st_mtime_ns == kept
    with refuses(RecipeError, "other-choices"):
        crossval(root, done, recipe, folds=4, resume=True)
    with refuses(RunError, "nothing-to-continue"):
        crossval(root, tmp_path / "none", recipe, resume=True)


def test_fewer_patients_than_folds_is_an_error(write_dataset, tmp_path, tiny, refuses):
    root = write_dataset(patients=4, images=5)
    with refuses(SplitError, "too-few-patients"):
        crossval(root, tmp_path / "cv", load_recipe("compact", tiny), folds=5)
    with refuses(SplitError, "too-few-patients"):
        crossval(write_dataset(name="three", patients=3), tmp_path / "cv", load_recipe("compact", tiny), folds=2)
    assert not (tmp_path / "cv").exists()


def test_folds_of_other_patients_are_not_put_together(done, tmp_path, tiny, refuses):
    """Without the check some images would be tested twice and others never."""
    table = tmp_path / "data" / "metadata.csv"
    table.write_text(table.read_text().replace("normal-3", "normal-2"))
    shutil.rmtree(done / "fold-3")
    with refuses(RecipeError, "other-choices"):
        crossval(tmp_path / "data", done, load_recipe("compact", [*tiny, "epochs=2"]), folds=3, resume=True)
    part = read_predictions(done / "fold-1" / "evaluation" / "test" / "predictions.csv")
    with refuses(RunError, "tested-twice"):
        pool([part, part])


def test_nothing_is_left_behind_by_a_recipe_that_cannot_work(write_dataset, tmp_path, tiny, refuses):
    root = write_dataset(labels=("a", "b"))
    with refuses(RecipeError, "flat-labels"):
        crossval(root, tmp_path / "cv", load_recipe("compact", [*tiny, "architecture=cascade"]))
    assert not (tmp_path / "cv").exists()


def test_identical_images_share_a_fold(write_dataset):
    root = write_dataset(patients=12, images=1)
    files = sorted((root / "train" / "normal").iterdir())
    for file in files[1:6]:
        file.write_bytes(files[0].read_bytes())
    table = open_images(read_table(root), Preprocessing(size=32)).table
    folds = assign_folds(table, 5)
    by_name = {row.path: fold for row, fold in zip(table.rows, folds, strict=True)}
    assert len({by_name[file.relative_to(root).as_posix()] for file in files[:6]}) == 1


def test_changed_copies_share_a_fold(write_dataset, tmp_path, tiny, snapshot):
    root = write_dataset(labels=("normal", "covid"), patients=9, images=1, metadata=False)
    for file in sorted((root / "train" / "covid").iterdir())[:6]:
        Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file.with_stem(f"{file.stem}-mirrored"))
    result = crossval(root, tmp_path / "cv", load_recipe("compact", [*tiny, "epochs=1"]), folds=3)
    for fold in (1, 2, 3):
        sides = defaultdict(set)
        for row in open_run(tmp_path / "cv" / f"fold-{fold}").rows:
            sides[row.path.replace("-mirrored", "")].add(row.split)
        assert all(len(found) == 1 for found in sides.values())
    assert result.audit.checked.leakage.pictures == 0
    snapshot("\n".join(result.notes))


def test_folds_are_stratified_and_depend_on_the_seed(write_dataset):
    table = open_images(read_table(write_dataset(patients=25)), Preprocessing(size=32)).table
    folds = assign_folds(table, 5)
    labels = np.array([row.label for row in table.rows])
    for fold in range(5):
        assert [np.sum(labels[folds == fold] == label) for label in table.labels] == [10, 10, 10]
    assert (assign_folds(table, 5) == folds).all()
    assert (assign_folds(table, 5, seed=1) != folds).any()


@pytest.mark.ci
def test_unknown_patients_and_unreadable_files_are_said(write_dataset, tmp_path, tiny, snapshot):
    root = write_dataset(patients=9, metadata=False)
    next((root / "train" / "normal").iterdir()).write_bytes(b"no image")
    result = crossval(root, tmp_path / "cv", load_recipe("compact", [*tiny, "epochs=1"]), folds=3)
    snapshot("\n".join(result.notes))
    assert len(result.pooled.unreadable) == 1
    assert result.pooled.n_images == 53
