"""Duplicates and near-duplicates in training: kept on one side, named, or left out."""

from pathlib import Path

import pytest
from PIL import Image

from hilum.evaluation.evaluate import evaluate
from hilum.training.run import open_run
from hilum.training.train import train
from short_trainings import Collected, forget, tiny
from wording import numbers

pytestmark = pytest.mark.usefixtures("small_evaluation")


def test_changed_copies_stay_on_one_side_and_a_resumed_training_keeps_its_splits(write_dataset, tmp_path):
    root = write_dataset(metadata=False, labels=("normal", "covid"))
    for file in sorted((root / "train" / "covid").iterdir())[:8]:
        Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file.with_stem(f"{file.stem}-mirrored"))
    torn = []
    for how in ("near", "identical"):
        said = Collected()
        out = tmp_path / how
        run = train(root, out, tiny(f"splits.duplicates={how}", "max_steps=2", "validate_every=1"), progress=said)
        side = {Path(row.path).stem: row.split for row in run.rows if row.label == "covid"}
        torn.append(
            sum(name.endswith("-mirrored") and side[name.removesuffix("-mirrored")] != side[name] for name in side)
        )
        line = next(line for line in said.lines if line.startswith("checked: "))
        assert line == run.environment.data.notes[-1]
        assert ("mirrored" in line) == (how == "near")
        assert run.environment.audit.checked.leakage.as_json() == {"patients": 0, "pictures": 0}
        assert any("8 images occur more than once" in line for line in said.lines) == (how == "near")
    assert torn[0] == 0 < torn[1]

    run = open_run(tmp_path / "near")
    before = run.rows
    facts = run.environment
    forget(run, "weights_sha256")
    again = train(root, tmp_path / "near", resume=True)
    assert again.finished
    assert again.rows == before
    assert again.environment.audit == facts.audit


def test_copies_on_two_given_sides_are_named_and_not_moved(write_dataset, tmp_path):
    root = write_dataset(splits=("train", "test"), metadata=False)
    Image.open(root / "train/normal/tr003-0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        root / "test/normal/te009-1.png"
    )
    said = Collected()
    run = train(root, tmp_path / "run", tiny("max_steps=1", 'val="carve"'), progress=said)
    assert all((row.split == "test") == row.path.startswith("test/") for row in run.rows)
    (line,) = [line for line in said.lines if "train/normal/tr003-0.png" in line]  # once
    assert line.startswith("audit: ERROR duplicates: 1 picture is")
    assert "test/normal/te009-1.png" in line
    assert not any(line.startswith("note: WARNING") for line in said.lines)
    (finding,) = (found for found in run.environment.audit.findings if found.check == "duplicates")
    assert finding.severity == "error"


def test_near_duplicates_of_training_images_are_left_out_of_other_data(write_dataset, tmp_path, own_cache, snapshot):
    root = write_dataset(labels=("normal", "covid"))
    run = train(root, tmp_path / "run", tiny("max_steps=1"))
    other = write_dataset(labels=("normal", "covid"), name="other", start=7)
    trained = [row.path for row in run.rows if row.split == "train" and row.label == "covid"][:3]
    for i, path in enumerate(trained):
        target = other / "train" / "covid" / f"tr{i:03d}-0.png"
        if i:
            Image.open(root / path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target)
        else:
            target.write_bytes((root / path).read_bytes())
    data = evaluate(run, other, split="train").metrics
    assert data.n_images == 48 - 3
    notes = data.data.notes
    snapshot("\n".join(notes))
    assert {"1"} <= numbers("\n".join(notes))
    assert {"2"} <= numbers("\n".join(notes))
    for file in own_cache.iterdir():  # the cache may be deleted at any time
        file.unlink()
    metrics = evaluate(run, other, split="train").metrics
    assert metrics.n_images == 48 - 1
    snapshot("\n".join(metrics.data.notes))
