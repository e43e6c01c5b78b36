"""Half a table of hilum's is refused, and an edited one is its user's."""

import csv
import json
import random

import pytest

from hilum.auditing.clean import Fixed, check_fixed, write_fixed
from hilum.data.dataset import Dataset, Row
from hilum.data.readers.read import read_table
from hilum.errors import TableError
from hilum.phantoms import write_phantoms
from killing import digests, in_child

LABELS = ("normal", "infected/covid")


@pytest.fixture
def mended(tmp_path):
    """A mended table of 60 images, and its rows."""
    rows = []
    for number in range(60):
        path = f"images/{number}.png"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
        rows.append(Row(path, LABELS[number % 2], "train", f"p{number // 2:05d}", "phantom"))
    write_fixed(Fixed(Dataset(tmp_path, tuple(rows)), ("left out x.png: cannot be read",)), tmp_path / "mended.csv")
    return tmp_path / "mended.csv"


def rewrite(table, change):
    """Let a person edit it in a spreadsheet, which writes other line ends and no last one."""
    with table.open(newline="") as file:
        head, *rows = csv.reader(file)
    rows = change(rows)
    table.write_text("\n".join(",".join(row) for row in [head, *rows]))
    return read_table(table)


@pytest.mark.timeout(120)
def test_500_cuts_of_a_mended_table_are_refused(mended):
    whole = mended.read_bytes()
    known = read_table(mended)
    assert len(known) == 60
    end = len(whole.rstrip(b"\r\n"))
    for cut in [*random.Random(0).sample(range(end), 500 - 40), *range(end - 40, end)]:
        mended.write_bytes(whole[:cut])
        with pytest.raises(TableError):
            read_table(mended)
    for cut in range(end, len(whole)):  # only the last line's end is missing
        mended.write_bytes(whole[:cut])
        assert [row.patient_id for row in read_table(mended).rows] == [row.patient_id for row in known.rows]


def test_an_edited_table_needs_no_permission(mended, refuses):
    whole = mended.read_bytes()
    for change, count in (
        (lambda rows: rows[5:], 55),
        (lambda rows: rows[::-1], 60),
        (lambda rows: sorted(rows[1:], reverse=True), 59),
        (lambda rows: [[*row[:1], "other", *row[2:]] if number % 3 else row for number, row in enumerate(rows)], 60),
        (lambda rows: [*rows[:-1], [*rows[-1][:3], "p9", *rows[-1][4:]]], 60),
    ):
        mended.write_bytes(whole)
        assert len(rewrite(mended, change)) == count
    mended.write_bytes(whole)
    with refuses(TableError, "cut", mended):
        rewrite(mended, lambda rows: rows[:-1])
    assert len(read_table(mended.rename(mended.with_name("chosen.csv")))) == 59


def test_logs_of_others_say_nothing(mended):
    log, cut = mended.with_suffix(".log"), mended.read_bytes()[:-200]
    mended.write_bytes(cut)
    for text in ("", "hello\n", "table: {}\n", 'table: {"rows": "many"}\n', "table: [1]\n", "table: " + "[" * 100_000):
        log.write_text(text)
        assert len(read_table(mended)) < 60


@pytest.mark.timeout(120)
@pytest.mark.ci
def test_500_cuts_of_the_table_of_phantoms_are_refused(tmp_path):
    write_phantoms(tmp_path / "ph", patients=12, size=64, workers=1)
    table = tmp_path / "ph" / "metadata.csv"
    whole = table.read_bytes()
    known = read_table(tmp_path / "ph")
    truth = json.loads((tmp_path / "ph" / "truth.json").read_text())["table"]
    assert truth["rows"] == len(known)
    end = len(whole.rstrip(b"\n"))
    for cut in random.Random(0).sample(range(end), 500):
        table.write_bytes(whole[:cut])
        with pytest.raises(TableError):
            read_table(tmp_path / "ph")


@pytest.mark.timeout(60)
def test_killed_anywhere_mending_can_be_repeated(mended, tmp_path):
    made = Fixed(read_table(mended), ("left out x.png: cannot be read",))
    events = len(in_child(lambda: write_fixed(made, tmp_path / "0.csv"), tmp_path).events)
    assert events >= 4
    whole = (tmp_path / "0.csv").read_bytes()
    for kill in range(1, events + 1):
        out = tmp_path / f"{kill}.csv"
        assert in_child(lambda out=out: write_fixed(made, out), tmp_path, kill=kill).killed
        assert not out.exists()  # it is the last that gets its name
        check_fixed(out)
        write_fixed(made, out)
        assert out.read_bytes() == whole
        with pytest.raises(TableError):
            check_fixed(out)


def test_a_log_of_somebody_else_is_in_the_way(tmp_path):
    (tmp_path / "mended.log").write_text("mine")
    with pytest.raises(TableError):
        check_fixed(tmp_path / "mended.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TableError):
        check_fixed(tmp_path / "link.csv")


def test_no_spreadsheet_runs_a_cell_and_hilum_reads_what_was_meant(tmp_path):
    rows = []
    for number in range(20):
        name = f"=cmd({number}).png"
        (tmp_path / name).touch()
        rows.append(Row(name, ("@normal", "covid")[number % 2], "train", f"-p{number}", "+1"))
    write_fixed(Fixed(Dataset(tmp_path, tuple(rows)), ()), tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="") as file:
        cells = [text for row in csv.reader(file) for text in row]
    assert not [text for text in cells if text[:1] in {"=", "+", "-", "@"}]
    found = read_table(tmp_path / "m.csv")
    assert [(row.path, row.label, row.patient_id, row.source) for row in found.rows] == [
        (row.path, row.label, row.patient_id, row.source) for row in rows
    ]


@pytest.mark.timeout(120)
def test_phantoms_are_whole_or_not_there(tmp_path):
    def make():
        write_phantoms(tmp_path / "ph", patients=6, size=64, workers=1)

    events = len(in_child(make, tmp_path).events)
    (tmp_path / "ph").rename(tmp_path / "whole")
    for kill in range(1, events + 1, max(1, events // 8)):
        assert in_child(make, tmp_path, kill=kill).killed
        assert not (tmp_path / "ph").exists()
    make()
    assert digests(tmp_path / "ph") == digests(tmp_path / "whole")


def test_phantoms_fill_an_empty_folder_that_is_there(tmp_path):
    (tmp_path / ".hilum-00.part").mkdir()  # of a process that was killed
    before = tmp_path.stat().st_ino
    made = write_phantoms(tmp_path, patients=6, size=64, workers=1)
    assert tmp_path.stat().st_ino == before
    assert len(read_table(tmp_path)) == made.images
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
