"""The audit of several findings an image: what is planted for one finding is found there, and nowhere else."""

import csv

import numpy as np
import pytest
from PIL import Image

from hilum.auditing.audit import audit
from hilum.auditing.checks.label_issues import OutOfSample, find_label_errors
from hilum.data.multilabel import finding_values
from hilum.data.readers.read import read_table

NAMES = ("Edema", "Nodule", "Effusion")


@pytest.fixture
def planted(tmp_path):
    """240 images of noise: those with Nodule are larger files in pixels, Edema comes from one hospital alone."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(240):
        values = generator.integers(0, 2, 3)
        side = 48 if values[1] else 40
        Image.fromarray(generator.integers(0, 255, (side, side), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        shown = ["" if generator.random() < 0.1 else value for value in values]
        rows.append([f"{number}.png", f"p{number}", "north" if values[0] else "south", *shown])
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "patient_id", "source", *NAMES], *rows])
    return read_table(tmp_path)


def test_each_finding_is_audited_for_itself(planted):
    seen = audit(planted)
    assert seen.report.labels == list(NAMES)
    known = finding_values(planted)
    assert seen.report.counts == {"all": dict(zip(NAMES, (known == 1).sum(axis=0).tolist(), strict=True))}
    shortcuts = [one.evidence for one in seen.findings if one.check == "shortcuts"]
    assert {"dimensions", "size on disk"} <= {one.probe for one in shortcuts}
    assert {label.label for one in shortcuts for label in one.labels} == {"Nodule"}
    (source,) = [one for one in seen.findings if one.check == "sources" and one.severity == "error"]
    assert source.message.startswith("Edema: ")
    assert source.evidence.confounded_labels
    assert not [one for one in seen.findings if "several findings in one label" in one.message]


def test_a_wrong_value_of_one_finding_is_found(planted):
    pytest.importorskip("cleanlab")
    truth = np.nan_to_num(finding_values(planted), nan=0).astype(float)
    probabilities = np.where(truth == 1, 0.95, 0.05)
    wrong = [i for i in range(240) if finding_values(planted)[i, 2] == 1][:3]
    probabilities[wrong, 2] = 0.02
    opinion = OutOfSample(NAMES, np.arange(240), probabilities, "a model", "which saw none of them")
    found = find_label_errors(planted, opinion)
    assert {issue.position for issue in found.label_issues} == set(wrong)
    assert {(issue.label, issue.likely) for issue in found.label_issues} == {("Effusion", "no Effusion")}
