"""Several findings an image by the command line: recognised by themselves, refused where they mean nothing."""

import json

import pytest
from jsonschema import Draft202012Validator

from findings_tables import FINDINGS, findings_frame
from places import ROOT

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    file = tmp_path_factory.mktemp("tables") / "model.csv"
    findings_frame().to_csv(file, index=False)
    return file


@pytest.mark.ci
def test_a_table_of_findings_is_measured_and_satisfies_its_schema(hilum, table, tmp_path):
    found = json.loads(hilum("evaluate", "--predictions", table, "--out", tmp_path, "--json", check=0).stdout)
    Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "findings.json").read_text())).validate(found)
    assert set(found["findings"]) == set(FINDINGS)
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    shown = hilum("evaluate", "--predictions", table, "--out", tmp_path, check=0).stdout
    assert shown.index("Nodule") < min(shown.index(name) for name in FINDINGS if name != "Nodule")  # the useless one


def test_two_tables_of_findings_are_compared(hilum, table, tmp_path):
    found = json.loads(hilum("compare", table, table, "--out", tmp_path, "--json", check=0).stdout)
    assert set(found["findings"]) == set(FINDINGS)
    assert (tmp_path / "comparison.html").stat().st_size > 0
    assert "macro" in hilum("compare", table, table, "--out", tmp_path, check=0).stdout


def test_a_positive_label_is_refused(hilum, table, tmp_path):
    refused = hilum("evaluate", "--predictions", table, "--positive-label", "Nodule", "--out", tmp_path)
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
