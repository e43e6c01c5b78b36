"""A small part of the study of reliance: networks trained on a injected defect, on a clean set, and on a mixed one."""

import importlib.util
import sys

import pytest

from places import STUDIES
from sizes import sized

FOUND = ["marker", "frame", "brightness", "compression", "aspect"]


@pytest.fixture(scope="module")
def study():
    """The study's script, which is no module of the package."""
    sys.path.insert(0, str(STUDIES))
    specification = importlib.util.spec_from_file_location("reliance_power", STUDIES / "reliance_power.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["reliance_power"] = module
    specification.loader.exec_module(module)
    yield module
    sys.path.remove(str(STUDIES))
    del sys.modules["reliance_power"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", sized(["marker", "compression"], ["marker", "frame", "brightness", "compression", "aspect"])
)
def test_what_a_network_was_trained_on_is_found(study, tmp_path, case):
    found = study.measured(case, 100, study.phantoms(100), tmp_path)
    entries = {entry["name"]: entry for entry in found["labels"][study.PLANTED]["found"]}
    injected = entries[study.KINDS[case]]
    assert injected["log_odds"]["low"] > 0
    assert injected["p_corrected"] < 0.05
    assert injected["share"]["value"] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("case", sized(["mixed"], ["clean", "mixed"]))
def test_nothing_is_found_where_nothing_tells_the_label(study, tmp_path, case):
    found = study.measured(case, 100, study.phantoms(100), tmp_path)
    swaps = [e for part in found["labels"].values() for e in part["found"] if e["kind"] == "swap"]
    assert len(swaps) >= (18 if case == "mixed" else 9)
    assert min(entry["p_corrected"] for entry in swaps) > 0.05
