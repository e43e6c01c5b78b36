"""Recipe auto: which recipe it takes, on which images that rests, and what it says of it."""

import pytest

from hilum.errors import ExtraError, RunError
from hilum.evaluation import recipe_choice
from hilum.evaluation.recipe_choice import CANDIDATES, choose_recipe
from hilum.training.run import open_run

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.fixture
def compared(monkeypatch):
    """Comparisons without trainings: `areas` are the mean AUROCs, and `seen` the tables that were compared on."""
    areas, seen = dict.fromkeys(CANDIDATES, 0.8), []

    def area(table, out, recipe, progress):
        seen.append((recipe, table))
        return areas[recipe.name]

    monkeypatch.setattr(recipe_choice, "_area", area)
    return areas, seen


@pytest.mark.parametrize(
    ("encoder", "compact", "finetune", "chosen"),
    [
        (0.80, 0.80, 0.80, "encoder"),
        (0.80, 0.85, 0.82, "compact"),
        (0.80, 0.85, 0.90, "finetune"),
        (0.80, 0.797, 0.804, "encoder"),  # no difference to speak of: the cheapest
    ],
)
def test_the_largest_auroc_decides_and_the_cheaper_of_equals(
    compared, write_dataset, encoder, compact, finetune, chosen
):
    compared[0].update(encoder=encoder, compact=compact, finetune=finetune)
    found = choose_recipe(write_dataset(patients=40), ["epochs=7"])
    assert found.recipe.name == chosen
    assert (found.recipe.training.epochs == 7) == (chosen != "encoder")
    assert found.why in found.table.notes
    assert all(f"{area:.3f}" in found.why for area in (encoder, compact, finetune))


@pytest.mark.ci
def test_patients_are_kept_apart_and_neither_val_nor_test_is_seen(compared, write_dataset):
    choose_recipe(write_dataset(patients=40, splits=("train", "val", "test")))
    for _, table in compared[1]:
        sides = {side: {row.patient_id for row in table.rows if row.split == side} for side in ("train", "val")}
        assert all(sides.values())
        assert not sides["train"] & sides["val"]
        assert all(row.path.startswith("train/") for row in table.rows)
    assert len(compared[1]) == len(CANDIDATES)


def test_many_patients_get_the_small_network_and_very_few_the_encoder(compared, write_dataset, monkeypatch):
    root = write_dataset(patients={"train": 3, "val": 20, "test": 20}, splits=("train", "val", "test"))
    assert choose_recipe(root).recipe.name == "encoder"
    monkeypatch.setattr(recipe_choice, "MANY", 5)
    assert choose_recipe(root).recipe.name == "compact"
    assert not compared[1]


def test_settings_of_the_encoder_are_for_its_recipe_alone(compared, write_dataset):
    choose_recipe(write_dataset(patients=40), ["encoder.file=other.onnx", "training.seed=3"])
    assert {recipe.name: recipe.encoder.file for recipe, _ in compared[1]} == {
        "encoder": "other.onnx",
        "compact": "",
        "finetune": "",
    }


def test_without_the_weights_the_package_is_named(compared, write_dataset, monkeypatch, refuses):
    monkeypatch.setattr("hilum.extras.find_spec", lambda package: None)
    with refuses(ExtraError, "extra"):
        choose_recipe(write_dataset(patients=40))


def test_a_folder_in_the_way_is_found_before_anything_is_compared(compared, write_dataset, tmp_path, hilum):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").touch()
    result = hilum("train", write_dataset(), "--out", tmp_path / "run", "--recipe", "auto", check=1)
    assert "is not empty" in result.stderr
    assert not compared[1]
    with pytest.raises(RunError):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("command", ["crossval", "sweep"])
def test_series_name_a_recipe(hilum, write_dataset, tmp_path, command, one_message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset()
    more = ["--set", "lr=0.1,0.2"] if command == "sweep" else []
    one_message(hilum(command, "data", "--out", "series", "--recipe", "auto", *more), 2)


@pytest.mark.slow
def test_the_run_says_which_recipe_it_was_and_why(hilum, write_dataset, tmp_path):
    root = write_dataset(patients=24)
    hilum(
        *("train", root, "--out", tmp_path / "run", "--recipe", "auto"),
        *("--set", "epochs=1", "--set", "eval_batch_size=16"),
        check=0,
    )
    run = open_run(tmp_path / "run")
    assert run.recipe.name in CANDIDATES
    assert any(note.startswith(f"recipe auto is {run.recipe.name}") for note in run.environment.data.notes)
