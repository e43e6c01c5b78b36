"""Sweeps and cross-validations, killed before some of their writes and called again, end as if nothing had been."""

import json
import re
import shutil

import pytest

from kill_points import SETTINGS
from sizes import sized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
STEP = sized(181, 41)  # a series is killed at some writes: its members are runs, which are killed at all of theirs
BY_SOURCE = "crossval --by"  # six runs, of which two are ordinary folds by each of two seeds


@pytest.mark.parametrize("series", ["sweep", "crossval", BY_SOURCE])
def test_a_series_goes_on_from_every_write(killer, data, tmp_path, series):
    """With the same command and --resume, also where nothing but the folder was made."""
    command = series.partition(" ")[0]
    more = {"sweep": ["--set", "weight_decay=0,0.1"], "crossval": ["--folds", "3"]}[command]
    more = ["--by", "split", "--repeats", "2"] if series == BY_SOURCE else more
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
    for number in range(1, len(events) + 1, STEP * (3 if series == BY_SOURCE else 1)):
        out = tmp_path / f"killed-{number}"
        assert killer(*call, "--out", out, root=tmp_path, kill=number)["code"] == -9
        again = killer(*call, "--out", out, *(["--resume"] if out.exists() else []), root=tmp_path)
        if again["code"] or found(out) != expected:
            failed.append((events[number - 1], again["output"]))
        shutil.rmtree(out, ignore_errors=True)
    assert not failed
