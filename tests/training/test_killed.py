"""Killed before any of their writes and called again, commands end as if nothing had happened."""

import re
import shutil
from pathlib import Path

import pytest

from kill_points import SETTINGS, kill_training
from sizes import sized

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.slow
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
def test_a_training_whose_images_are_decoded_goes_on_from_its_writes(killer, data, tmp_path):
    """Some: `test_killed_cold` kills at each of them, and at those of the cache."""
    _, failed = kill_training(killer, data, tmp_path, lambda events: range(1, len(events) + 1, sized(8, 3)))
    assert not failed


@pytest.mark.slow
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


@pytest.mark.ci
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
