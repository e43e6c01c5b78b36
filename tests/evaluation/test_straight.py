"""A straight way through `evaluate`: what somebody passes who follows its calls, and what it reads.

Followed is the code of `hilum.evaluation` and of `hilum.training.run`, as a reader does: each function once, where it
is first called. Calls from one module into another count. Properties are read, not followed, and so are comprehensions,
which stand in the function that has them.
Modules of numbers are looked up, not followed: they import nothing of hilum but other such modules, and know neither
run nor file.

* A *return* enters a module that was entered and left before.
* A *climb* is a call into a module, here by whatever module of hilum, that imports the caller's, directly or not: the
  way leads up again, as through a decorator, or a function that was handed down.
"""

import ast
import csv
import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import hilum
from hilum.data import dataset as tables
from hilum.data.readers import read as readers
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from random_datasets import write_pictures
from training_runs import TINY, copy_with_data

pytestmark = pytest.mark.usefixtures("small_evaluation")

SOURCE = Path(hilum.__file__).parent
NUMBERS = {"errors", "text", "files", "data.labels"}


def file_of(module):
    return SOURCE / f"{module.replace('.', '/')}.py"


@cache
def imported(module):
    """Modules of hilum that one imports, wherever the statement stands."""
    nodes = ast.walk(ast.parse(file_of(module).read_text()))
    named = (node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module)
    below = {name.removeprefix("hilum.") for name in named if name.startswith("hilum.")}
    return frozenset(name for name in below if file_of(name).exists())


@cache
def reached(module):
    """Modules that one imports, directly or not."""
    found, waiting = set(), [module]
    while waiting:
        new = imported(waiting.pop()) - found
        found |= new
        waiting += new
    return frozenset(found)


@cache
def is_of_numbers(module):
    pure = module in NUMBERS or module.startswith(("stats.", "decision."))
    return pure or (module.startswith("evaluation.") and all(is_of_numbers(name) for name in imported(module)))


@cache
def properties(module):
    classes = [node for node in ast.parse(file_of(module).read_text()).body if isinstance(node, ast.ClassDef)]
    return {
        f"{of.name}.{node.name}"
        for of in classes
        for node in of.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(by, ast.Name) and by.id.endswith("property") for by in node.decorator_list)
    }


class Way:
    """The way of a call through hilum's modules."""

    def __init__(self):
        self.modules, self.climbs, self._known = [], [], set()

    def __call__(self, frame, event, _):
        if event != "call" or (module := self._module(frame)) is None:
            return
        name = frame.f_code.co_qualname
        if (module, name) in self._known or name.endswith(("<genexpr>", "comp>")):
            return
        self._known.add((module, name))
        if not (module.startswith("evaluation.") or module == "training.run"):
            return
        caller = frame.f_back
        while caller is not None and self._module(caller) is None:
            caller = caller.f_back
        below = self._module(caller) if caller else None
        if below and below in reached(module):
            self.climbs.append((below, f"{module}.{name}"))
        followed = below != module and not is_of_numbers(module) and name not in properties(module)
        if followed and self.modules[-1:] != [module]:
            self.modules.append(module)

    @staticmethod
    def _module(frame):
        file = Path(frame.f_code.co_filename)
        return ".".join(file.relative_to(SOURCE).with_suffix("").parts) if file.is_relative_to(SOURCE) else None

    @property
    def returns(self):
        return [module for place, module in enumerate(self.modules) if module in self.modules[:place]]


COLUMNS = (
    ("hospital", lambda number: "AB"[number % 2]),
    ("age", lambda number: 20 + number % 60),
    ("view", lambda number: ("PA", "AP")[number % 3 == 0]),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with further columns and a certificate, to which nothing was fitted yet."""
    folder = tmp_path_factory.mktemp("straight")
    patients = {"train": 60, "test": 15}
    data = write_pictures(folder / "data", splits=("train", "test"), patients=patients, columns=COLUMNS)
    run = train(data, folder / "run", load_recipe("compact", [*TINY, "fraction=0.3"]))
    certify(run, false_negative_rate=0.3)
    for name in ("calibration.json", "abstention.json"):
        (run.path / name).unlink(missing_ok=True)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    copy_with_data(trained, tmp_path)
    return open_run(tmp_path / "run")


@pytest.fixture
def calls(monkeypatch):
    """How often ``split.csv`` is parsed, and a dataset is read."""
    calls = Counter()

    def counted(name, function):
        def count(*arguments, **named):
            calls[name] += 1
            return function(*arguments, **named)

        return count

    monkeypatch.setattr("hilum.training.run.read_csv", counted("split.csv", tables.read_csv))
    monkeypatch.setattr("hilum.evaluation.cohort.read_table", counted("dataset", readers.read_table))
    return calls


@pytest.mark.slow
def test_the_way_through_evaluate_is_straight_and_reads_the_split_once(run, calls):
    way = Way()
    sys.setprofile(way)
    try:
        metrics = evaluate(run).metrics
    finally:
        sys.setprofile(None)
    assert calls == {"split.csv": 1}
    assert set(metrics.subgroups) == {"source", "age", "view"}  # hospital is the source
    assert way.climbs == []
    assert len(set(way.modules)) <= 21, way.modules
    assert len(way.returns) <= 17, way.modules


def as_written_before(run):
    """The same run with a ``split.csv`` as hilum 0.2 wrote it."""
    rows = run.rows
    with (run.path / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "patient_id", "split", "sha256"))
        writer.writerows((row.path, row.label, row.patient_id, row.split, row.sha256) for row in rows)
    environment = json.loads((run.path / "environment.json").read_text())
    environment["files"] = {**environment["files"], **run.hashes("split.csv")}
    (run.path / "environment.json").write_text(json.dumps(environment))
    return open_run(run.path)


def test_a_run_of_an_earlier_version_gets_its_columns_from_the_dataset_or_goes_without(run, calls, tmp_path):
    now = evaluate(run).metrics
    calls.clear()
    old = as_written_before(run)
    before = evaluate(old).metrics
    assert calls == {"split.csv": 1, "dataset": 1}
    same = set(now.to_json()) - {"notes", "files"}
    assert {name: before.to_json()[name] for name in same} == {name: now.to_json()[name] for name in same}
    (tmp_path / "data" / "metadata.csv").unlink()
    without = evaluate(open_run(run.path)).metrics
    for found, told in ((before, "read from"), (without, "without further columns")):
        assert [note for note in found.notes if told in note]
    assert not without.subgroups
    assert without.accuracy == now.accuracy


def test_a_run_keeps_its_columns_when_the_table_is_gone(run, calls, tmp_path):
    now = evaluate(run).metrics
    (tmp_path / "data" / "metadata.csv").unlink()
    again = evaluate(open_run(run.path)).metrics
    assert again.subgroups == now.subgroups
    assert again.table == now.table
    assert calls["dataset"] == 0
