"""What follows from whose images a table holds."""

from pathlib import Path

from hilum.audit.patients import count_patients, findings
from hilum.data.table import Row, Table


def table(*rows):
    return Table(Path("data"), tuple(Row(*row) for row in rows))


def test_what_is_wrong_is_said():
    rows = [
        *((f"{i}.png", "a", "train", f"p{i}") for i in range(4)),
        ("4.png", "a", "test", "p0"),
        ("5.png", "b", "train", "p1"),
        ("6.png", "b", "train", ""),
    ]
    found = count_patients(table(*rows))
    assert found.across_splits == ("p0",)
    assert found.several_labels == ("p1",)
    said = findings(found)
    assert [finding.severity for finding in said] == ["error", "warning", "info", "info"]
    assert said[0].evidence == {"patients": 1, "images": 2, "examples": ["p0"]}
    assert "1 of 7 images" in said[1].message
    assert "6 images of 4 patients" in said[3].message


def test_how_a_patient_is_known_is_told_apart():
    found = count_patients(table(("1.png", "a", "", "p"), ("2.png", "a", "", "Kermany 2018:IM-1"), ("3.png", "a")))
    assert found.how == ("column", "Kermany 2018", "unknown")
    assert not found.known
    assert findings(found)[-1].evidence["how"] == {"column": 1, "Kermany 2018": 1, "unknown": 1}


def test_nothing_known_is_optimistic():
    (finding,) = findings(count_patients(table(("1.png", "a"), ("2.png", "b"))))
    assert finding.severity == "warning"
    assert "optimistic" in finding.message
