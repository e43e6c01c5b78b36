"""Several datasets as one: what is told apart, what is one, and that files are found again."""

import csv

import numpy as np
import pytest
from PIL import Image

import hilum
from hilum.auditing.near_duplicates.groups import find_groups
from hilum.data.cache import open_images
from hilum.data.joined import join, read_datasets
from hilum.data.multilabel import finding_values
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.data.splits import SplitPlan, assign_splits
from hilum.errors import TableError, UsageError
from hilum.training.run import open_run

pytestmark = pytest.mark.usefixtures("small_evaluation")


def write_table(folder, rows, start=0):
    """A table with images of noise: rows of file name, label, patient and source."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(start)
    for name, *_ in rows:
        Image.fromarray(generator.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / name)
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "patient_id", "source"), *rows])
    return folder


@pytest.fixture
def two(tmp_path):
    one = write_table(
        tmp_path / "a" / "north", [(f"{i}.png", ("normal", "covid")[i % 2], i // 4, "") for i in range(8)]
    )
    other = [
        (f"{i}.png", ("No Finding", "infected/COVID-19", "tb")[i % 3], i // 4, ("x", "y")[i % 2]) for i in range(9)
    ]
    return [one, write_table(tmp_path / "b" / "deep" / "south", other, start=1)]


def test_rows_keep_their_files_sources_and_people(two):
    tables = read_datasets(two)
    whole = join(tables)
    assert [whole.file(row).read_bytes() for row in whole.rows] == [
        table.file(row).read_bytes() for table in tables for row in table.rows
    ]
    assert set(whole.values("source")) == {"north", "south/x", "south/y"}
    assert len(set(whole.values("patient_id"))) == 2 + 3  # patients 0 and 1 of both are four people
    assert len(set(join(tables, same_patients=True).values("patient_id"))) == 3


def test_labels_of_one_meaning_are_one_label(two, snapshot):
    whole = join(read_datasets(two))
    assert set(whole.labels) == {"normal", "covid", "tb"}
    assert whole.values("label") == {"normal": 4 + 3, "covid": 4 + 3, "tb": 3}
    snapshot("\n".join(whole.notes))


def test_labels_are_mapped_and_left_out(two):
    whole = join(read_datasets(two), map_label={"covid": "ill", "infected/COVID-19": "ill", "tb": ""})
    assert whole.values("label") == {"normal": 7, "ill": 7}


def test_an_unclear_label_is_not_guessed(tmp_path, refuses):
    one = write_table(tmp_path / "one", [(f"{i}.png", ("adult/flu", "child/flu")[i % 2], i, "") for i in range(4)])
    two = write_table(tmp_path / "two", [(f"{i}.png", ("normal", "flu")[i % 2], i, "") for i in range(4)], start=1)
    with refuses(TableError, "ambiguous-label"):
        join(read_datasets([one, two]))
    assert join(read_datasets([one, two]), map_label={"flu": "child/flu"}).values("label")["child/flu"] == 4


def test_mistakes_are_refused(two, refuses):
    tables = read_datasets(two)
    with refuses(UsageError, "no-such-label"):
        join(tables, map_label={"flu": "covid"})
    with refuses(TableError, "single-label"):
        join(tables, map_label={"covid": "", "infected/COVID-19": "", "tb": ""})
    with refuses(TableError, "file-twice"):
        join([tables[0], read_table(two[0] / "metadata.csv")])
    with refuses(UsageError, "no-dataset"):
        hilum.open_dataset([])


def test_datasets_of_one_name_are_told_apart(tmp_path):
    rows = [(f"{i}.png", ("normal", "covid")[i % 2], i, "") for i in range(4)]
    folders = [write_table(tmp_path / name / "images", rows, start=i) for i, name in enumerate(("p", "q"))]
    assert set(join(read_datasets(folders)).values("source")) == {"p-images", "q-images"}


def test_splits_of_some_datasets_are_put_together(write_dataset, two):
    divided = write_dataset(splits=("train", "test"), patients=2)
    assert not join(read_datasets([divided, *two])).splits
    assert join(read_datasets([divided, write_dataset(name="more", splits=("train", "test"))])).splits


def test_an_image_in_both_datasets_is_in_one_split(write_dataset):
    """Copies, one of them recompressed, are found across datasets before any of them is held out."""
    one, other = write_dataset(name="one", images=1), write_dataset(name="other", images=1, start=7)
    for k, label in enumerate(("normal", "infected/covid", "infected/non-covid")):
        for i in range(6):
            picture = Image.open(one / "train" / label / f"tr{i:03d}-0.png")
            mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if k else picture
            mirrored.save(other / "train" / label / f"tr{11 - i:03d}-0.png")
    images = open_images(hilum.open_dataset([one, other], split_column="none", progress=False), Preprocessing(size=32))
    groups = find_groups(images, "near")
    splits = assign_splits(images.table, SplitPlan(fraction=0.3), groups.numbers)
    sides = {}
    for row, group, split in zip(images.table.rows, groups.numbers, splits.names, strict=True):
        sides.setdefault(group, []).append((row.source, split))
    shared = [found for found in sides.values() if len(found) > 1]
    assert len(shared) == 18
    assert all({source for source, _ in found} == {"one", "other"} for found in shared)
    assert all(len({split for _, split in found}) == 1 for found in shared)


def test_a_run_on_joined_datasets_is_opened_again(write_dataset, hilum, tmp_path, tiny, monkeypatch):
    one, other = write_dataset(name="one"), write_dataset(name="far/other", start=7, metadata=False)
    settings = [word for key in [*tiny, "epochs=1"] for word in ("--set", key)]
    monkeypatch.chdir(one)  # one of them is named relative to here
    hilum("train", ".", other, "--out", tmp_path / "run", *settings, check=0)
    run = open_run(tmp_path / "run")
    assert run.environment.data.arguments == f"{one} {other}"
    assert {row.source for row in run.rows} == {"one", "other"}
    monkeypatch.chdir(tmp_path)
    hilum("evaluate", "run", check=0)
    again = hilum("train", one, other, "--out", tmp_path / "run", "--resume", check=0)
    assert "complete" in again.stdout + again.stderr
    table = run.table()
    assert all(table.file(row).is_file() for row in table.rows)


def test_columns_hold_for_tables_beside_folders(write_dataset, tmp_path, refuses):
    folder = write_dataset(name="folder", metadata=False, patients=2)
    table = write_table(tmp_path / "t", [(f"{i}.png", ("normal", "covid")[i % 2], i, "a") for i in range(4)])
    header = (table / "metadata.csv").read_text().replace("label", "finding_of_reader", 1)
    (table / "metadata.csv").write_text(header)
    whole = hilum.open_dataset([folder, table], label_column="finding_of_reader", progress=False)
    assert whole.values("label")["normal"] == 4 + 2
    with refuses(TableError, "no-table"):
        hilum.open_dataset([folder], label_column="finding_of_reader")


def write_findings(folder, names, lines):
    write_table(folder, [(f"{i}.png", "", "", "") for i in range(len(lines))], start=len(names))
    head = ["path", "patient_id", *names]
    rows = [[f"{i}.png", i, *line] for i, line in enumerate(lines)]
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return folder


def test_findings_that_a_dataset_does_not_state_are_unknown_there(tmp_path, refuses, two):
    one = write_findings(tmp_path / "one", ["Effusion", "Nodule"], [(1, 0), (0, 1), (0, -1)])
    other = write_findings(tmp_path / "other", ["Edema", "Effusion"], [(1, 0), (0, 1), ("", 1)])
    whole = join(read_datasets([one, other]))
    assert whole.findings == ("Effusion", "Nodule", "Edema")
    nan = np.nan
    wanted = [[1, 0, nan], [0, 1, nan], [0, -1, nan], [0, nan, 1], [1, nan, 0], [1, nan, nan]]
    assert np.array_equal(finding_values(whole), np.array(wanted), equal_nan=True)
    renamed = join(read_datasets([one, other]), map_label={"Edema": "Nodule"})
    assert renamed.findings == ("Effusion", "Nodule")
    assert np.array_equal(finding_values(renamed)[:, 1], [0, 1, -1, 1, 0, nan], equal_nan=True)
    with refuses(TableError, "two-kinds"):
        join(read_datasets([one, two[0]]))
