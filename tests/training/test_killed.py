"""Killed before any of their writes and called again, commands end as if nothing had happened."""

import json
import re
import shutil
from pathlib import Path

import pytest

from kill_points import Killer

pytestmark = pytest.mark.timeout(1200)
STEP = 41  # a series is killed at every 41st write: its members are runs, which are killed at all of theirs
SETTINGS = [
    part
    for setting in (
        "network.options.width=4",
        "network.options.blocks=[1, 1]",
        "preprocessing.size=32",
        "epochs=2",
        "batch_size=8",
        "lr=0.01",
        "keep_from=0",
        "training.seed=3",
    )
    for part in ("--set", setting)
]


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killer")
    killer = Killer(HILUM_CACHE=str(folder / "cache"), HILUM_LEDGER=str(folder / "ledger.jsonl"))
    yield killer
    killer.close()


@pytest.fixture
def data(write_dataset):
    """A table whose column of patients has to be named, so that resuming has to remember that."""
    root = write_dataset(patients=10, splits=("train", "test"))
    table = root / "metadata.csv"
    table.write_text(table.read_text().replace("patient_id", "who"))
    return root


def outcome(run):
    """What a training comes to, but for times."""
    facts = json.loads((run / "environment.json").read_text())
    history = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    return (
        facts["weights_sha256"],
        facts["best"],
        (run / "split.csv").read_bytes(),
        [(*row[:6], row[7]) for row in history],
    )


def is_begun(run):
    return (run / "recipe.toml").exists()


def kill_training(killer, data, base, numbers, *, cold=False):
    """Kill a training at some of its writes; whether all of them go on to the same end."""
    command = ["train", data, "--patient-column", "who"]
    cache = {"HILUM_CACHE": str(base / "cache")}

    def ready():
        if cold:
            shutil.rmtree(base / "cache", ignore_errors=True)

    whole = killer(*command, "--out", base / "whole", *SETTINGS, root=base, **cache)
    assert whole["code"] == 0, whole["output"]
    ready()
    events = killer(*command, "--out", base / "again", *SETTINGS, root=base, **cache)["events"]
    expected, failed = outcome(base / "whole"), []
    assert outcome(base / "again") == expected
    for number in numbers(events):
        ready()
        out = base / f"killed-{number}"
        assert killer(*command, "--out", out, *SETTINGS, root=base, kill=number, **cache)["code"] == -9
        # The recipe and how the data are read are the run's own. Where it has not begun, the command as it was.
        rest = ["train", data, "--out", out, "--resume"] if is_begun(out) else [*command, "--out", out, *SETTINGS]
        again = killer(*rest, root=base, **cache)
        if again["code"] or outcome(out) != expected:
            failed.append((events[number - 1], again["output"]))
        shutil.rmtree(out, ignore_errors=True)
    return len(events), failed


def test_a_training_goes_on_from_before_its_first_checkpoint(killer, data, tmp_path):
    """The events at which a run of earlier versions could neither go on nor begin, and those around them."""

    def some(events):
        named = [
            i for i, event in enumerate(events, 1) if re.search(r"open .*again/\.hilum|rename .*again/\.hilum", event)
        ]
        return named[2:10]

    count, failed = kill_training(killer, data, tmp_path, some)
    assert count > 20
    assert not failed


@pytest.mark.slow
@pytest.mark.parametrize("cold", [False, True])
def test_a_training_goes_on_from_every_write(killer, data, tmp_path, cold):
    _, failed = kill_training(killer, data, tmp_path, lambda events: range(1, len(events) + 1), cold=cold)
    assert not failed


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sweep", "crossval"])
def test_a_series_goes_on_from_every_write(killer, data, tmp_path, command):
    """With the same command and --resume, also where nothing but the folder was made."""
    more = {"sweep": ["--set", "weight_decay=0,0.1"], "crossval": ["--folds", "3"]}[command]
    call = [command, data, "--patient-column", "who", *SETTINGS, *more]
    result = {"sweep": "sweep.json", "crossval": "crossval.json"}[command]

    def found(out):
        if not (out / result).exists():
            return {}
        facts = json.loads(re.sub(r'"(seconds|sweep.csv)": [^,\n]*', r'"\1": 0', (out / result).read_text()))
        weights = [json.loads(file.read_text())["weights_sha256"] for file in sorted(out.rglob("environment.json"))]
        return facts, weights

    whole = killer(*call, "--out", tmp_path / "whole", root=tmp_path)
    assert whole["code"] == 0, whole["output"]
    events, failed = killer(*call, "--out", tmp_path / "again", root=tmp_path)["events"], []
    expected = found(tmp_path / "whole")
    for number in range(1, len(events) + 1, STEP):
        out = tmp_path / f"killed-{number}"
        assert killer(*call, "--out", out, root=tmp_path, kill=number)["code"] == -9
        again = killer(*call, "--out", out, *(["--resume"] if out.exists() else []), root=tmp_path)
        if again["code"] or found(out) != expected:
            failed.append((events[number - 1], again["output"]))
        shutil.rmtree(out, ignore_errors=True)
    assert not failed


@pytest.mark.parametrize(("umask", "mode", "of_folders"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_all_files_of_a_run_have_the_mode_of_the_umask(killer, data, tmp_path, umask, mode, of_folders):
    run = tmp_path / "run"
    for command in (["train", data, "--out", run, *SETTINGS], ["evaluate", run], ["report", run]):
        done = killer(*command, root=tmp_path, umask=umask)
        assert done["code"] == 0, done["output"]
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {"best.safetensors", "split.csv", "metrics.json", "report.html"} <= {path.name for path in files}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {path.name: oct(mode) for path in files}
    assert {path.stat().st_mode & 0o777 for path in (run, *run.rglob("*")) if path.is_dir()} == {of_folders}


def test_a_folder_of_a_group_stays_the_group_s(killer, data, tmp_path):
    """setgid: what is made below belongs to the folder's group, whoever makes it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    group = next((group for group in (1, 100, 1000) if may_give(shared, group)), None)
    if group is None:
        pytest.skip("this user may give no file to another group")
    shared.chmod(0o2775)
    done = killer("train", data, "--out", shared / "run", *SETTINGS, root=tmp_path, umask=0o002)
    assert done["code"] == 0, done["output"]
    made = [path.stat() for path in (shared / "run").rglob("*")]
    assert {entry.st_gid for entry in made} == {group}
    assert {entry.st_mode & 0o777 for entry in made} == {0o664, 0o775}


def may_give(folder: Path, group: int) -> bool:
    try:
        shutil.chown(folder, group=group)
    except (OSError, LookupError):
        return False
    return True
