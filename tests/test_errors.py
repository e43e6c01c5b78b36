"""What every error of hilum tells a program, and that it survives the way out of another process."""

import pickle
import re
from pathlib import Path

import pytest

from hilum import errors
from hilum.errors import HilumError, RunError, TableError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HilumError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_has_a_code_of_its_own(kind):
    error = kind("x: not found.")
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", error.code)
    assert (error.message, str(error), error.path) == ("x: not found.", "x: not found.", None)
    assert [other for other in KINDS if other.code == error.code] == [kind]


def test_a_finer_code_and_a_path_stay_through_pickle():
    error = pickle.loads(pickle.dumps(TableError("a.csv: cut.", code="cut", path="a.csv")))
    assert (type(error), error.message, error.code, error.path) == (TableError, "a.csv: cut.", "cut", Path("a.csv"))
    assert RunError("x").code == "run"
