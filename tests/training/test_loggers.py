"""Loggers on request: each holds what history.csv holds, goes on after an interruption, and sends nothing."""

import itertools
import struct
import sys

import pytest

from hilum.errors import DivergenceError, ExtraError, UsageError
from hilum.progress import Progress
from hilum.training.callbacks import Keep
from hilum.training.loggers import check_loggers
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train

LOGGED = ("epoch", "lr", "train_loss", "val_accuracy", "val_loss", "val_false_negatives")


def tensorboard_curves(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {name: {event.step: event.value for event in found.Scalars(name)} for name in found.Tags()["scalars"]}


def mlflow_curves(folder):
    client = pytest.importorskip("mlflow").MlflowClient(folder.as_uri())
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    (run,) = client.search_runs([experiment.experiment_id])  # one, however often it was interrupted
    assert run.info.status == "FINISHED"
    assert run.data.params["training/batch_size"] == "8"
    return {
        name: {item.step: item.value for item in client.get_metric_history(run.info.run_id, name)}
        for name in run.data.metrics
    }


def records(file):
    """What a .wandb file holds: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    data, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_curves(folder):
    """From the files that `wandb sync` would send; those of a continued training bear the same run's name."""
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len({file.stem for file in files}) == 1
    curves = {}
    for data in itertools.chain.from_iterable(map(records, files)):
        items = proto.Record.FromString(data).history.item
        row = {item.key or "/".join(item.nested_key): float(item.value_json) for item in items}
        for name, value in row.items():
            curves.setdefault(name, {})[int(row["trainer/global_step"])] = value
    return {name: curve for name, curve in curves.items() if not name.startswith(("_", "trainer/"))}


READERS = {"tensorboard": tensorboard_curves, "mlflow": mlflow_curves, "wandb": wandb_curves}


def assert_logged(run, name):
    curves, history = READERS[name](run.path.resolve() / "logs" / name), run.history()
    assert sorted(curves) == sorted(LOGGED)
    for column in LOGGED:
        expected = {int(row["step"]): row[column] for row in history}
        assert curves[column] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.ci
def test_what_is_logged_is_what_the_history_holds(write_dataset, tmp_path, tiny, name, monkeypatch):
    """Also where the training is interrupted after its second validation, and continued without naming the logger."""
    pytest.importorskip(name)
    root, recipe = write_dataset(), load_recipe("compact", [*tiny, "validate_every=5"])
    plain = train(root, tmp_path / "plain", recipe)
    keep = Keep.on_validation_end

    def interrupted(self, trainer, pl_module):
        keep(self, trainer, pl_module)
        if pl_module.step == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keep, "on_validation_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(root, tmp_path / "run", recipe, loggers=[name])
    assert [row["step"] for row in open_run(tmp_path / "run").history()] == [5, 10]
    run = train(root, tmp_path / "run", resume=True)
    assert len(run.history()) > 3
    assert_logged(run, name)
    assert run.environment.weights_sha256 == plain.environment.weights_sha256
    assert not (tmp_path / "plain" / "logs").exists()


def test_a_training_that_fails_leaves_its_loggers_complete(write_dataset, tmp_path, tiny):
    settings = [*tiny, "optimiser=sgd", "schedule=constant", "lr=1e30", "precision=float32"]
    with pytest.raises(DivergenceError):
        train(write_dataset(), tmp_path / "run", load_recipe("compact", settings), loggers=["tensorboard"])
    assert "val_loss" in tensorboard_curves(tmp_path / "run" / "logs" / "tensorboard")


def test_the_command_line_takes_several(hilum, write_dataset, tmp_path, tiny):
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    words = [word for setting in [*tiny, "max_steps=2"] for word in ("--set", setting)]
    loggers = ["--logger", "tensorboard", "--logger", "mlflow"]
    hilum("train", write_dataset(), "--out", tmp_path / "run", *words, *loggers, check=0)
    for name in ("tensorboard", "mlflow"):
        assert list(READERS[name](tmp_path / "run" / "logs" / name)["val_loss"]) == [2]


def test_an_unknown_logger_is_wrong_usage_and_leaves_nothing(hilum, write_dataset, tmp_path, one_message):
    result = hilum("train", write_dataset(), "--out", tmp_path / "run", "--logger", "comet")
    one_message(result, 2)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError):
        check_loggers(["comet"])


@pytest.mark.parametrize("name", READERS)
def test_without_its_package_it_says_what_to_install(write_dataset, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraError, match=r"pip install 'hilum\[loggers\]'"):
        train(write_dataset(), tmp_path / "run", loggers=[name], progress=Progress())
    assert not (tmp_path / "run").exists()
