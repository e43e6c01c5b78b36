"""The bench's own arithmetic, and that its contestants do what they say."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not part of the package

from benchmarks.child import Contestant, run  # noqa: E402
from benchmarks.measurement import Measurement, in_turn  # noqa: E402
from benchmarks.results import Results, command_line  # noqa: E402
from benchmarks.tiling import write_tiles  # noqa: E402

from hilum.data.readers.read import read_table  # noqa: E402


@pytest.fixture
def finds_benchmarks(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))


def test_contestants_take_turns():
    calls = []
    works = {name: lambda name=name: float(calls.append(name) or len(calls)) for name in "AB"}
    assert in_turn(works, 3, lambda line: None) == {"A": [1, 3, 5], "B": [2, 4, 6]}
    assert "".join(calls) == "ABABAB"


def test_a_ratio_is_that_of_pairs_and_above_one_where_the_first_is_better():
    seconds = Measurement("x", "s", {"ours": [1.0, 10.0, 2.0], "other": [2.0, 20.0, 4.0]})
    assert seconds.ratio("other") == 2  # the machine was ten times slower in one round; the pairs do not see it
    assert Measurement("x", "images/s", {"ours": [30.0], "other": [10.0]}).ratio("other") == 3
    assert seconds.median("ours") == 2


def test_the_command_names_no_folder_of_this_machine():
    said = command_line(["--data", "/home/somebody/seed-cxr", "--out=/tmp/out", "--only", "vgg"])
    assert said == "python -m benchmarks --data seed-cxr --out=out --only vgg"


def test_every_part_is_written_with_its_repeats_and_a_failure_is_told(tmp_path):
    results = Results(tmp_path, {"command": "c", "data": "d", "quick": True}, "name")
    results.add("one", [Measurement("start", "s", {"hilum": [0.25, 0.5], "torch": [1.0, 2.0]})], 1)
    results.add("two", [], 1, "ValueError: a | b")
    written = json.loads((tmp_path / "name.json").read_text())
    (start,) = written["parts"]["one"]["measurements"]
    assert start["contestants"][0]["repeats"] == [0.25, 0.5]
    assert start["ratios"] == {"torch": 4}
    table = (tmp_path / "name.md").read_text()
    assert "| one |  | torch | 1.5 | s | 2 | 4.00 |" in table
    assert "**failed** | ValueError: a / b" in table
    assert {line.count("|") for line in table.splitlines() if line.startswith("|")} == {8}


def test_tiles_are_the_dataset_so_many_times_with_other_patients(write_dataset, tmp_path):
    data = write_dataset(splits=("train", "test"))
    table = read_table(data)
    tiles = read_table(write_tiles(data, tmp_path / "tiles", 3))
    assert len(tiles) == 3 * len(table)
    assert {key: count / 3 for key, count in tiles.counts().items()} == table.counts()
    assert len(set(tiles.patients())) == 3 * len(set(table.patients()))
    assert all(tiles.file(row).is_file() for row in tiles.rows)
    with (tmp_path / "tiles" / "metadata.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(tiles)


def test_peak_memory_is_that_of_the_process():
    found = run("-c", "import time; x = bytearray(200 * 2**20); time.sleep(0.2); print(len(x))")
    assert found.output == f"{200 * 2**20}\n"
    if Path("/proc").is_dir():
        assert 200 < found.peak_mib < 260
        assert 200 < found.anonymous_mib < 260
    with pytest.raises(RuntimeError, match="exit code 3: sorry"):
        run("-c", "import sys; sys.exit(print('sorry', file=sys.stderr) or 3)")


@pytest.mark.slow
def test_hilums_trainer_and_the_seeds_loop_make_a_step_when_asked(write_dataset, tiny, finds_benchmarks):
    data = write_dataset()
    with Contestant("hilum", str(data), "compact", "4", *tiny) as ours:
        assert ours.images == 8
        assert all(ours.step() > 0 for _ in range(3))
        facts = json.loads(ours.end().splitlines()[-1])
    assert facts["best"]["step"] == 4
    assert 0 <= facts["data_wait_share"] < 1
    with Contestant("seed", str(data), "2") as theirs:
        assert theirs.images == 2
        assert theirs.step() > 0
    assert theirs.process.returncode
