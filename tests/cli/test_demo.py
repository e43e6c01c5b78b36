"""The demo: the whole way, and care for what lies in its folder."""

import pytest

from hilum.cli import demo
from hilum.cli.demo import run_demo
from hilum.errors import RunError, TableError
from hilum.evaluation.ledger import Access, read_ledger
from hilum.training.recipe import load_recipe as load
from random_datasets import write_pictures
from sizes import FULL, sized
from training_runs import copy_with_data

pytestmark = pytest.mark.usefixtures("small_evaluation")


def tiny(name, settings):
    """A recipe with a network that takes a second."""
    few = ["max_steps=4", "network.options.width=4", "network.options.blocks=[1, 1]", "preprocessing.size=32"]
    return load(name, [*settings, *few])


@pytest.fixture
def quick(monkeypatch):
    """The same way with a network that takes a second."""
    monkeypatch.setattr(demo, "load_recipe", tiny)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A demo, and the folder that holds it beside its data."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:  # for this demo alone: a test below trains the real network
        patch.setattr(demo, "load_recipe", tiny)
        data = write_pictures(folder / "data", splits=("train", "test"))
        return run_demo(data, folder / "demo"), folder


@pytest.fixture
def earlier(quick, shown, tmp_path):
    """Data, and a demo of before."""
    copy_with_data(shown[1], tmp_path)
    return tmp_path / "data", tmp_path / "demo"


def test_the_demo_on_given_data_leaves_run_evaluation_and_report(shown):
    result, folder = shown
    assert result.report == folder / "demo" / "run" / "report.html"
    assert result.evaluation.metrics.n_images == 72
    assert "demo" in result.report.read_text()


def test_an_earlier_demo_is_replaced_and_what_others_put_there_stays(shown, earlier):
    data, out = earlier
    (out / "mine.txt").write_text("mine")
    replaced = run_demo(data, out, seed=1)
    assert (out / "mine.txt").read_text() == "mine"
    assert replaced.run.environment.weights_sha256 != shown[0].run.environment.weights_sha256


def test_a_folder_of_somebody_else_is_not_touched(quick, write_dataset, tmp_path, refuses):
    out = tmp_path / "demo"
    (out / "run").mkdir(parents=True)
    (out / "run" / "thesis.txt").write_text("mine")
    with refuses(RunError, "not-empty"):
        run_demo(write_dataset(), out)
    assert (out / "run" / "thesis.txt").exists()


def test_a_mistake_in_the_data_costs_no_earlier_demo(earlier, tmp_path, refuses):
    out = earlier[1]
    report = out / "run" / "report.html"
    assert report.exists()
    with refuses(TableError, "missing"):
        run_demo(tmp_path / "typo", out)
    assert report.exists()


def test_the_demo_does_not_delete_its_own_input(earlier, write_dataset, refuses):
    out = earlier[1]
    inside = write_dataset(splits=("train", "test"), name="demo/phantoms")
    with refuses(RunError, "holds-data"):
        run_demo(inside, out)
    assert (inside / "metadata.csv").exists()


def test_a_file_in_the_way_is_one_message(quick, write_dataset, tmp_path, refuses):
    (tmp_path / "demo").write_text("a file")
    with refuses(RunError, "unusable"):
        run_demo(write_dataset(), tmp_path / "demo")


@pytest.mark.slow
def test_on_phantoms_it_is_neither_broken_nor_trivial(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PATIENTS", sized(400, demo.PATIENTS))  # of 220, 0.53 to 0.88 by seed
    if not FULL:  # the next test looks at what is planted and audited
        for stage in ("_planted", "_audit"):
            monkeypatch.setattr(demo, stage, lambda *arguments: None)
    accuracy = run_demo(None, tmp_path / "demo").evaluation.metrics.accuracy.value
    assert sized(0.75, 0.85) <= accuracy <= 0.995, accuracy


@pytest.mark.slow
def test_the_demo_shows_a_planted_defect_being_found(quick, monkeypatch, tmp_path, own_cache):
    monkeypatch.setattr(demo, "PATIENTS", 45)
    monkeypatch.setattr(demo, "PLANTED_PATIENTS", 100)
    result = run_demo(None, tmp_path / "demo")
    assert result.injected is not None
    assert (result.injected.severity, result.injected.evidence.probe) == ("warning", "letters")
    assert "'infected/covid'" in result.injected.message
    assert (tmp_path / "demo" / "audit" / "audit.html").exists()
    assert not [finding for finding in result.audit.findings if finding.severity == "error"]
    assert result.evaluation.access.confirmatory
    assert len(read_ledger(tmp_path / "demo" / "ledger.jsonl").of(Access)) == 1
    assert not (own_cache / "ledger.jsonl").exists()  # simulated patients do not belong among real ones


@pytest.mark.slow
def test_interrupted_anywhere_and_called_again_it_ends_the_same(quick, write_dataset, tmp_path, monkeypatch):
    data, out = write_dataset(splits=("train", "test")), tmp_path / "demo"

    def stop(*arguments, **more):
        raise KeyboardInterrupt

    for stage in ("_make_room", "_audit", "train", "evaluate", "write_report"):
        with monkeypatch.context() as patch:
            patch.setattr(demo, stage, stop)
            with pytest.raises(KeyboardInterrupt):
                run_demo(data, out)
    again, whole = run_demo(data, out), run_demo(data, tmp_path / "whole")
    assert again.run.environment.weights_sha256 == whole.run.environment.weights_sha256
