"""How a dataset was read stays with the run: later stages read it in the same way, and its patients are the run's."""

import csv
import json
import shutil

import pytest

from hilum.data.options import ReadOptions
from hilum.errors import TableError
from hilum.evaluation.crossval import crossval
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.subgroups import columns_of
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.sweep import sweep
from hilum.training.train import train
from wording import numbers

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.fixture
def odd(write_dataset, tmp_path):
    """A table that has to be told how to be read, with images elsewhere, named as NIH names them: two a patient."""
    images = write_dataset(labels=("normal", "covid"), splits=("",), patients=14, metadata=False, name="images")
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "all.csv"
    with table.open("w", newline="", encoding="utf-16") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["where", "what", "image", "View"])
        for number, old in enumerate(sorted(images.rglob("*.png"))):
            new = old.rename(old.with_name(f"{number // 2:08d}_{number % 2:03d}.png"))
            writer.writerow([new, old.parent.name, number, ("PA", "AP")[number % 3 == 0]])
    return table


READ = ReadOptions(path_column="where", label_column="what")


def test_a_run_remembers_how_its_data_were_read(odd, tmp_path, tiny, refuses, snapshot):
    with refuses(TableError, "unrecognised-columns"):
        train(odd, tmp_path / "run", load_recipe("compact", tiny))
    run = train(odd, tmp_path / "run", load_recipe("compact", [*tiny, "epochs=1"]), read=READ)
    data = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    assert data["data_argument"] == str(odd)
    assert ReadOptions(**data["read"]) == READ == run.read_options
    assert (data["patients_known"], data["with_patient"]) == (True, 56)
    snapshot("\n".join(data["notes"]))
    assert {"28", "56"} <= numbers("\n".join(data["notes"]))
    sides = {}
    for row in run.rows:
        sides.setdefault(row.patient_id, set()).add(row.split)
    assert len(sides) == 28
    assert all(len(of) == 1 for of in sides.values()), "no patient on two sides"
    assert train(odd, tmp_path / "run", resume=True).finished
    assert "View" in columns_of(run.table().rows), "kept by the run"
    result = evaluate(run)
    assert result.metrics.n_patients == result.metrics.n_images / 2
    assert result.metrics.table.columns["view"].filled == 1


def test_the_patients_of_a_run_are_those_it_was_split_by(odd, tmp_path, tiny):
    """Whatever is recognised when the data are given again: temperature and certificate divide by patients."""
    unknown = ReadOptions("where", "what", patients="none")
    run = train(odd, tmp_path / "run", load_recipe("compact", [*tiny, "epochs=1"]), read=unknown)
    assert not any(row.patient_id for row in run.rows)
    again = evaluate(open_run(tmp_path / "run"), odd, read=READ)
    assert again.metrics.n_patients is None
    assert again.metrics.with_patient == 0


def test_the_labels_of_a_run_are_those_it_learnt(write_dataset, tmp_path, tiny):
    """Although its table has another column that is called label."""
    root = write_dataset(labels=("normal", "covid"), splits=("train", "test"))
    file = root / "metadata.csv"
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, [*rows[0], "finding"])
        writer.writeheader()
        writer.writerows(row | {"finding": row["label"], "label": "AB"[i % 2]} for i, row in enumerate(rows))
    run = train(root, tmp_path / "run", load_recipe("compact", tiny), read=ReadOptions(label_column="finding"))
    given = evaluate(run).metrics
    assert set(run.labels) == {"normal", "covid"}
    for data in (root, shutil.copytree(root, tmp_path / "moved")):
        again = evaluate(run, data).metrics
        assert again.confusion == given.confusion
        warned = any("other labels here" in note for note in again.data.notes)
        assert warned == (data != root), "read as the run read it where it is the same; else said"


def test_labels_that_list_several_findings_are_refused_before_anything_is_decoded(odd, tmp_path, tiny, refuses):
    odd.write_text(odd.read_text(encoding="utf-16").replace("\tcovid\t1", "\tcovid+effusion\t1"), encoding="utf-16")
    shutil.rmtree(tmp_path / "images")
    recipe = load_recipe("compact", tiny)
    for attempt in (
        lambda out: train(odd, out, recipe, read=READ),
        lambda out: crossval(odd, out, recipe, folds=3, read=READ),
        lambda out: sweep(odd, out, ["lr=0.1,0.01"], read=READ),
    ):
        with refuses(TableError, "several-findings"):
            attempt(tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_the_command_line_says_it_in_one_way(odd, hilum, one_message):
    result = hilum("train", odd, "--out", odd.parent / "run", "--patients", "some")
    one_message(result, 2)
    for command in ("audit", "train", "sweep", "crossval", "evaluate", "certify", "demo"):
        shown = hilum(command, "--help", check=0).stdout
        for option in ("--path-column", "--label-column", "--patient-column", "--split-column", "--patients"):
            assert option in shown, command


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbf[training]\r\nepochs = 3\r\n")
    assert load_recipe(tmp_path / "r.toml").training.epochs == 3
