"""The Lightning modules, used as Lightning's users do: with a trainer of one's own."""

import subprocess
import sys

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import EarlyStopping

from hilum.evaluation.crossval import crossval
from hilum.training import ClassifierModule, RadiographDataModule
from hilum.training.checkpoints import load_weights, weights_sha256
from hilum.training.module import build_for
from hilum.training.recipe import load_recipe
from hilum.training.train import train

QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # Lightning's remarks about loaders
def test_a_trainer_of_ones_own_finds_the_weights_of_hilums(write_dataset, tmp_path, tiny):
    """Every epoch in its own order, although nobody has told the trainer to ask for batches anew."""
    root, recipe = write_dataset(), load_recipe("compact", [*tiny, "precision=float32"])
    run = train(root, tmp_path / "run", recipe)
    data = RadiographDataModule.from_dataset(root, recipe)
    assert data.labels == run.labels
    module = ClassifierModule(recipe, data, run.positive_label)
    trainer = pl.Trainer(max_epochs=recipe.training.epochs, **QUIET)
    trainer.fit(module, data)
    expected = build_for(recipe, run.labels)
    load_weights(expected, run.last)
    assert weights_sha256(module.network) == weights_sha256(expected)
    last = run.history()[-1]
    found = {
        name: trainer.callback_metrics[name].item() for name in ("train_loss", "val_loss", "val_false_negatives", "lr")
    }
    assert found == pytest.approx({name: last[name] for name in found}, abs=1e-6)
    again = trainer.validate(module, data, verbose=False)[0]
    assert again["val_loss"] == pytest.approx(last["val_loss"], abs=1e-6)
    assert module.hparams["training"]["batch_size"] == 8


@pytest.mark.filterwarnings("ignore")
def test_lightnings_own_callbacks_see_what_is_logged(write_dataset, tiny):
    recipe = load_recipe("compact", [*tiny, "epochs=9"])
    data = RadiographDataModule.from_dataset(write_dataset(), recipe)
    stop = EarlyStopping("val_loss", min_delta=100.0, patience=1)  # nothing improves by so much
    trainer = pl.Trainer(max_epochs=9, callbacks=[stop], **QUIET)
    trainer.fit(ClassifierModule(recipe, data), data)
    assert trainer.current_epoch == 2


def test_steps_are_counted_as_the_recipe_says(write_dataset, tiny):
    recipe = load_recipe("compact", [*tiny, "max_steps=13"])
    data = RadiographDataModule.from_dataset(write_dataset(), recipe)
    images = len(data.targets)
    assert data.steps_per_epoch == len(data.train_dataloader()) == -(-images // 8)
    assert data.total_steps == 13
    assert RadiographDataModule.from_dataset(
        data.train_part[0].table.root, load_recipe("compact", tiny)
    ).total_steps == 3 * data.steps_per_epoch  # fmt: skip


def test_pytorch_is_loaded_when_it_is_asked_for():
    code = (
        "import sys, hilum.training, hilum.training.recipe, hilum.training.loggers\n"
        "print({'torch', 'lightning'} & set(sys.modules) or 'light')\n"
        "from hilum.training import ClassifierModule\n"
        "print('lightning' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["light", "True"]


def test_commands_that_do_not_train_load_no_trainer(tmp_path):
    run = str(tmp_path)  # an empty folder: what it is refused with comes after the imports
    commands = [["evaluate", run], ["certify", run, "--sensitivity", "0.9"], ["report", run], ["export", run, "m.onnx"]]
    code = (
        "import sys; from hilum.cli.app import main\n"
        f"for words in {commands}:\n"
        "    sys.argv = ['hilum', *words]\n"
        "    try: main()\n"
        "    except SystemExit: print('torch' in sys.modules, 'lightning' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["True False"] * len(commands), result.stderr


@pytest.mark.slow
def test_a_training_and_a_cross_validation_hash_the_pixels_once(write_dataset, tmp_path, tiny, monkeypatch):
    from hilum.data import cache_files

    hashed = []
    real = cache_files._checksum
    monkeypatch.setattr(cache_files, "_checksum", lambda file, size: hashed.append(size) or real(file, size))
    root, recipe = write_dataset(), load_recipe("compact", [*tiny, "epochs=1"])
    train(root, tmp_path / "run", recipe)
    assert len(hashed) == 2  # pixels and thumbnails
    crossval(root, tmp_path / "folds", recipe, folds=3)
    assert len(hashed) == 2
