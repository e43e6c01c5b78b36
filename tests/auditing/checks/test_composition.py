"""What follows from whose images a table holds."""

from dataclasses import replace
from pathlib import Path

from hilum.auditing.checks.composition import count_patients, patient_findings
from hilum.data.dataset import Dataset, Row
from wording import numbers


def table(*rows):
    return Dataset(Path("data"), tuple(Row(*row) for row in rows))


def test_what_is_wrong_is_said(snapshot):
    rows = [
        *((f"{i}.png", "a", "train", f"p{i}") for i in range(4)),
        ("4.png", "a", "test", "p0"),
        ("5.png", "b", "train", "p1"),
        ("6.png", "b", "train", ""),
    ]
    found = count_patients(table(*rows))
    assert found.across_splits == ("p0",)
    assert found.several_labels == ("p1",)
    said = patient_findings(found)
    assert [finding.severity for finding in said] == ["error", "warning", "info", "info"]
    assert said[0].evidence.model_dump() == {"patients": 1, "images": 2, "examples": ["p0"]}
    snapshot(said[1].message)
    assert {"1", "7"} <= numbers(said[1].message)
    snapshot(said[3].message)
    assert {"4", "6"} <= numbers(said[3].message)


def test_how_a_patient_is_known_is_told_apart(snapshot):
    ids = ("p", "Kermany 2018:IM-1", "dicom:0123456789ab", "")
    rows = table(*((f"{i}.png", "a", "", name) for i, name in enumerate(ids)))
    for stated, read in (("folders", rows), ("column", replace(rows, columns=("path", "label", "patient_id")))):
        found = count_patients(read)
        assert found.how == (stated, "Kermany 2018", "DICOM headers", "unknown")
        said = patient_findings(found)[-1]
        assert said.evidence.how == dict.fromkeys(found.how, 1)
        snapshot(said.message)


def test_nothing_known_is_optimistic():
    (finding,) = patient_findings(count_patients(table(("1.png", "a"), ("2.png", "b"))))
    assert finding.severity == "warning"
    assert "optimistic" in finding.message
