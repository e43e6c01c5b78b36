"""An ensemble of runs that differ in preprocessing: what it answers, in every form, and who cannot be a member."""

import errno
import json
import os
import re
import shutil

import numpy as np
import pytest

from hilum.data.cache import open_images
from hilum.data.images import read_picture
from hilum.errors import CheckpointError, HilumError, RecipeError, RunError, UsageError
from hilum.evaluation.comparison import about
from hilum.evaluation.ensemble import make_ensemble
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.inference import TrainedNetwork, predict
from hilum.evaluation.recipe_differences import check_methods
from hilum.exporting.export import export
from hilum.progress import Progress
from hilum.report.run_page import write_report
from hilum.serving.explain import explain
from hilum.serving.predictor import Predictor
from hilum.training.environment import InitialWeights
from hilum.training.initialisation import find_source
from hilum.training.lock import HOLDER, contents
from hilum.training.recipe import load_recipe
from hilum.training.run import Run, open_run
from hilum.training.train import train
from random_datasets import write_pictures
from training_runs import TINY, make_findings_run, write_findings

pytestmark = [pytest.mark.usefixtures("small_evaluation"), pytest.mark.slow]
SHORT = [*TINY, "fraction=0.3", "mixup=0"]
MEMBERS = {
    "small": [],
    "large": ["preprocessing.size=48", "equalise=true", "network.options.width=6", "training.seed=2"],
    "local": ["local_contrast=0.1", 'preprocessing.fit="crop"', "architecture=cascade", "training.seed=3"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("ensemble")
    data = write_pictures(made / "data", splits=("train", "test"), patients={"train": 60, "test": 12})
    for name, settings in MEMBERS.items():
        train(data, made / name, load_recipe("compact", [*SHORT, *settings]))
    make_ensemble([open_run(made / name) for name in MEMBERS], made / "mixed")
    evaluate(open_run(made / "mixed"))
    return made


def answers(run):
    """What a run's network says of all of its images, with its own preprocessing."""
    run = open_run(run)
    return predict(run, open_images(run.table(), run.preprocessing), run.labels)


def geometric(parts):
    raised = np.exp(np.mean(np.log(parts), axis=0))
    return raised / raised.sum(axis=-1, keepdims=True)


def test_probabilities_are_the_geometric_mean_of_the_members(folder):
    each = [answers(folder / name) for name in MEMBERS]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(answers(folder / "mixed"), geometric(each), atol=1e-6)


def test_the_model_file_says_what_the_evaluation_says_and_what_the_members_files_say(folder, tmp_path):
    run = open_run(folder / "mixed")
    export(run, tmp_path / "mixed.onnx")
    predictor = Predictor(tmp_path / "mixed.onnx")
    assert predictor.model_file.facts["format"] == 4
    assert predictor.model_file.shape == (3, 48, 48)
    found = evaluate(run, split="val", out=tmp_path / "val").predictions
    files = [folder / "data" / path for path in found.paths]
    said = [list(answer.probabilities.values()) for answer in predictor.predict_many(files)]
    np.testing.assert_allclose(said, found.probabilities, atol=1e-5)
    members = []
    for name in MEMBERS:
        member = copy_without_temperature(folder / name, tmp_path / name)
        export(member, tmp_path / f"{name}.onnx")
        own = Predictor(tmp_path / f"{name}.onnx")
        members.append([list(answer.probabilities.values()) for answer in own.predict_many(files)])
    plain = copy_without_temperature(folder / "mixed", tmp_path / "plain")
    export(plain, tmp_path / "plain.onnx")
    stated = [list(answer.probabilities.values()) for answer in Predictor(tmp_path / "plain.onnx").predict_many(files)]
    np.testing.assert_allclose(stated, geometric(members), atol=1e-6)


def copy_without_temperature(run, to):
    shutil.copytree(run, to)
    evaluate(open_run(to), split="val", out=to / "evaluation" / "val")  # which fits one
    kept = json.loads((to / "calibration.json").read_text())
    (to / "calibration.json").write_text(json.dumps(kept | {"temperatures": None}))
    return open_run(to)


def test_of_one_run_twice_it_is_that_run(folder, tmp_path):
    member = open_run(folder / "large")
    twice = make_ensemble([member, member], tmp_path / "twice")
    np.testing.assert_allclose(answers(twice.path), answers(member.path), atol=1e-7)
    assert export(twice, tmp_path / "twice.onnx").shape == (48, 48)  # members that take the same bytes share them


def test_every_stage_takes_it(folder, tmp_path):
    run = open_run(folder / "mixed")
    page = write_report(run.path).read_text()
    card = (run.path / "model_card.md").read_text()
    assert "(3) Recipe" in card
    seeds = [open_run(folder / name).recipe.training.seed for name in MEMBERS]
    for text in (page, card):  # all members are told, and none of them speaks for the others
        assert run.preprocessing.digest()[:16] in text
        assert f"seeds {', '.join(map(str, seeds))} of the members" in text
    model = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", page.partition('id="model"')[2]))
    assert "3 × 48 × 48 pixels" in model
    assert "ensemble (of 3 trained runs: (1) compact; (2) compact; (3) compact, cascade of one network" in model
    assert "could not be built" not in model
    assert "hilum ensemble small large local --out" in page
    assert "There is no validation" not in page
    about_run = about(run, "mixed", "test", None)
    assert (about_run.seed, about_run.seeds) == (None, seeds)
    picture = next((folder / "data").rglob("*.png"))
    stacked = run.preprocessing.apply(read_picture(picture).pixels)
    assert stacked.shape == (3, 48, 48)
    network = TrainedNetwork(run)
    assert len(network.labels) == 3
    export(run, tmp_path / "mixed.onnx")
    with pytest.raises(UsageError) as caught:  # one member sees the middle only
        explain(Predictor(tmp_path / "mixed.onnx"), picture)
    assert caught.value.code == "several-fits"
    with pytest.raises(UsageError) as caught:
        export(run, tmp_path / "small.onnx", int8=True)
    assert caught.value.code == "int8-of-ensemble"
    same_fit = make_ensemble([open_run(folder / "small"), open_run(folder / "large")], tmp_path / "two")
    export(same_fit, tmp_path / "two.onnx")
    explanation = explain(Predictor(tmp_path / "two.onnx"), picture)
    assert explanation.method == "occlusion"
    assert explanation.heatmaps[0].values.shape == explanation.pixels.shape


def test_members_may_go_and_what_changes_in_the_ensemble_is_found(folder, tmp_path):
    for name in ("small", "large"):
        shutil.copytree(folder / name, tmp_path / name)
    large, heard = open_run(tmp_path / "large"), Heard()
    began = InitialWeights(name="elsewhere.pt", sha256="ab" * 32, licence="CC-BY-4.0", loaded=3, fresh=["head"])
    large.write_environment(large.environment.model_copy(update={"initial": began}))
    for name in ("certificate.json", "abstention.safetensors"):
        (tmp_path / "large" / name).touch()
    run = make_ensemble([open_run(tmp_path / "small"), large], tmp_path / "two", progress=heard)
    assert len(heard.lines) == 2
    assert str(tmp_path / "large") in heard.lines[0]
    assert "certificate" in heard.lines[0]
    assert "out-of-distribution reference" in heard.lines[0]
    assert f"hilum certify {run.path}" in heard.lines[1]
    assert f"hilum evaluate {run.path}" in heard.lines[1]
    assert run.environment.initial is None  # of the members one began with weights from elsewhere, and one did not
    write_report(run.path)
    model_file = export(run, tmp_path / "two.onnx")
    cards = [(run.path / "model_card.md").read_text(), model_file.facts["card"]]
    for card in (re.sub(r"\\\\(.)", r"\1", text) for text in cards):
        assert re.search(r"\(1\) small[^;]* freshly drawn weights; \(2\) large[^;]* weights of elsewhere\.pt", card)
        assert "CC-BY-4.0" in card
    assert find_source(str(run.path), "compact").licence == "CC-BY-4.0"
    before = answers(run.path)
    shutil.rmtree(tmp_path / "small")
    shutil.rmtree(tmp_path / "large")
    np.testing.assert_array_equal(answers(run.path), before)
    recipe = tmp_path / "two" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("equalise = true", "equalise = false"))
    with pytest.raises(RunError) as caught:
        answers(run.path)
    assert caught.value.code == "other-file"
    other = make_ensemble([open_run(folder / "small"), open_run(folder / "small")], tmp_path / "other")
    shutil.copyfile(folder / "large" / "checkpoints" / "best.safetensors", other.best)
    with pytest.raises(CheckpointError):
        answers(other.path)


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["hilum.training.checkpoints.save_bytes", "hilum.training.run.save_json"])
def test_a_full_disk_is_one_message_and_leaves_a_free_folder(folder, tmp_path, monkeypatch, place):
    runs = [open_run(folder / "small"), open_run(folder / "large")]
    out = tmp_path / "two"
    with monkeypatch.context() as planted:
        planted.setattr(place, full_disk)
        with pytest.raises(RunError) as caught:
            make_ensemble(runs, out)
    assert (caught.value.code, caught.value.path) == ("unwritable", out)
    assert os.strerror(errno.ENOSPC) in caught.value.message
    assert "--resume" not in caught.value.message
    assert not out.exists()
    assert make_ensemble(runs, out).finished


def test_ctrl_c_leaves_a_free_folder_that_nobody_else_could_enter(folder, tmp_path, monkeypatch):
    runs = [open_run(folder / "small"), open_run(folder / "large")]
    out = tmp_path / "two"

    def interrupt(run, _):
        assert run.best.is_file()
        assert (out / HOLDER).is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as planted:
        planted.setattr(Run, "write_environment", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_ensemble(runs, out)
    assert not contents(out)
    assert make_ensemble(runs, out).finished


def another_seed(run, to, *, seed, weights, key="training.seed"):
    """A copy of an ensemble, as if its second member had been trained with another seed."""
    shutil.copytree(run.path, to)
    made = open_run(to)
    old = made.environment.members
    members = [member.model_copy(update={"weights_sha256": f"{weights}-{i}"}) for i, member in enumerate(old)]
    members = [old[0], *members[1:]] if weights == "shared" else members
    recipes = list(made.recipe.members)
    table, _, name = key.partition(".")
    part = getattr(recipes[1], table).model_copy(update={name: seed})
    recipes[1] = recipes[1].model_copy(update={table: part})
    made.write_environment(
        made.environment.model_copy(update={"files": {}, "weights_sha256": weights, "members": members})
    )
    made.write_recipe(made.recipe.model_copy(update={"members": tuple(recipes)}))
    return open_run(to)


def test_seeds_of_ensembles_differ_in_their_members_seeds_and_share_no_member(folder, tmp_path):
    first = open_run(folder / "mixed")
    second = make_ensemble([open_run(folder / "small"), open_run(folder / "large")], tmp_path / "two")
    alike = [another_seed(run, tmp_path / f"other-{run.name}", seed=9, weights=run.name) for run in (first, second)]
    check_methods(first, second, [(alike[0], alike[1])])
    for code, how in {
        "other-recipe": {"seed": 40, "weights": "other", "key": "preprocessing.size"},
        "same-weights": {"seed": 11, "weights": "shared"},
    }.items():
        with pytest.raises(RunError) as caught:
            check_methods(first, second, [(alike[0], another_seed(second, tmp_path / code, **how))])
        assert caught.value.code == code


def test_several_findings(tmp_path):
    data = write_findings(tmp_path / "data")
    first = make_findings_run(data, tmp_path / "first")
    second = tmp_path / "second"
    train(data, second, load_recipe(tmp_path / "first" / "recipe.toml", ["preprocessing.size=40", "training.seed=5"]))
    mixed = make_ensemble([first, open_run(second)], tmp_path / "mixed")
    odds = [np.log(p) - np.log1p(-p) for p in (answers(first.path), answers(second))]
    np.testing.assert_allclose(answers(mixed.path), 1 / (1 + np.exp(-np.mean(odds, axis=0))), atol=1e-6)
    assert evaluate(mixed).metrics
    assert export(mixed, tmp_path / "mixed.onnx").findings == mixed.findings


def of_size(run, to, size):
    """A copy of a run, as if it had been trained on larger images."""
    shutil.copytree(run, to)
    made = open_run(to)
    preprocessing = made.recipe.preprocessing.model_copy(update={"size": size})
    made.write_environment(made.environment.model_copy(update={"files": {}}))
    made.write_recipe(made.recipe.model_copy(update={"preprocessing": preprocessing}))
    return open_run(to)


@pytest.mark.parametrize(
    ("settings", "code"),
    [(["splits.seed=9"], "other-splits"), (["positive_label=normal", "healthy=none"], "other-roles")],
)
def test_runs_that_do_not_fit_together_are_refused(folder, tmp_path, settings, code):
    train(folder / "data", tmp_path / "other", load_recipe("compact", [*SHORT, "max_steps=2", *settings]))
    with pytest.raises(RunError) as caught:
        make_ensemble([open_run(folder / "small"), open_run(tmp_path / "other")], tmp_path / "mixed")
    assert caught.value.code == code
    assert not (tmp_path / "mixed").exists()


def test_other_data_ensembles_and_single_runs_are_refused(folder, tmp_path):
    data = write_pictures(tmp_path / "data", splits=("train", "test"), patients={"train": 60, "test": 12}, start=3)
    train(data, tmp_path / "elsewhere", load_recipe("compact", [*SHORT, "max_steps=2"]))
    small = open_run(folder / "small")
    cases = {
        "other-images": [small, open_run(tmp_path / "elsewhere")],
        "too-few-members": [small],
        "nested-ensemble": [small, open_run(folder / "mixed")],
        "too-many-pixels": [small, of_size(folder / "large", tmp_path / "huge", 2048)],
    }
    for code, runs in cases.items():
        with pytest.raises(HilumError) as caught:
            make_ensemble(runs, tmp_path / "mixed")
        assert caught.value.code == code
    with pytest.raises(RunError) as caught:
        make_ensemble([small, small], folder / "large")
    assert caught.value.code == "in-the-way"
    assert "--resume" not in caught.value.message  # which this command has not
    with pytest.raises(RecipeError) as refused:
        train(folder / "data", tmp_path / "again", load_recipe(folder / "mixed" / "recipe.toml"))
    assert refused.value.code == "ensemble-of-runs"
