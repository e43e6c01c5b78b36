"""Tables with several findings an image: a column a finding, or a column of lists."""

import numpy as np
import pytest

from hilum.data.label_names import check_one_finding
from hilum.data.multilabel import NO_FINDING, binary_view, finding_values
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_frame, read_table
from hilum.errors import TableError

NAN = float("nan")
CHEXPERT = """Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Effusion,Support Devices
p1/s1/view1.jpg,Female,68,Frontal,AP,1.0,,,1.0
p2/s1/view1.jpg,Male,87,Frontal,AP,,-1.0,1.0,
p2/s2/view1.jpg,Male,83,Frontal,AP,,1.0,0.0,0.0
p3/s1/view1.jpg,Male,41,Lateral,,,0.0,-1.0,
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="t.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def rows(*lines, head="path,patient,A,B"):
    return "\n".join([head, *(f"{number}.png,{line}" for number, line in enumerate(lines)), ""])


def test_columns_of_ones_zeros_and_blanks_are_findings(write):
    found = read_table(write(CHEXPERT))
    assert found.findings == ("Cardiomegaly", "Effusion", "Support Devices")
    expected = [[0, 0, 1], [-1, 1, NAN], [1, 0, 0], [0, -1, NAN]]
    np.testing.assert_array_equal(finding_values(found), expected)
    assert [row.label for row in found.rows] == ["Support Devices", "Effusion", "Cardiomegaly", NO_FINDING]
    assert [row.extra["Sex"] for row in found.rows] == ["Female", "Male", "Male", "Male"]
    assert "No Finding" not in found.rows[0].extra


def test_no_finding_makes_unknown_findings_absent_but_not_devices(write):
    head = "path,No Finding,Effusion,Device"
    found = read_table(write(rows("1,,", "1,,", ",1,0", ",0,1", head=head)))
    assert found.findings == ("Effusion", "Device")
    np.testing.assert_array_equal(finding_values(found), [[0, NAN], [0, NAN], [1, 0], [0, 1]])


def test_findings_that_say_nothing_are_left_out_and_images_of_which_nothing_is_known(write):
    head = "path,A,B,C,D"
    found = read_table(
        write(
            rows("1,0,0,", "0,1,0,", ",,0,", "1,-1,0,", head=head),
        ),
        ReadOptions(finding_columns=tuple("ABCD")),
    )
    assert found.findings == ("A", "B")
    assert [row.path for row in found.rows] == ["0.png", "1.png", "3.png"]
    assert sum("'C'" in note or "'D'" in note for note in found.notes) == 2


def test_columns_that_are_named_are_findings_beside_a_label(write):
    head = "path,label,A,B,C"
    file = write(rows("x,1,0,1", "y,0,1,1", "x,1,1,0", head=head))
    assert read_table(file).findings == ()
    found = read_table(file, ReadOptions(finding_columns=("a", "C")))
    assert found.findings == ("A", "C")
    assert found.rows[0].extra["B"] == "0"


def test_a_split_beside_findings_is_one(write):
    found = read_table(write(rows("1,0,train", "0,1,train", "1,0,test", "0,1,test", head="path,A,B,split")))
    assert found.findings == ("A", "B")
    assert found.splits == ("train", "test")


@pytest.mark.parametrize("mark", "|;,")
def test_lists_are_findings_and_what_is_not_listed_is_absent(write, mark):
    labels = ["No Finding", "Effusion", f"effusion{mark}Mass", "Mass", f"Mass{mark} Effusion"]
    lines = [f'"{label}"' for label in labels]
    found = read_table(write(rows(*lines, head="path,label")))
    assert found.findings == ("Effusion", "Mass")
    np.testing.assert_array_equal(finding_values(found), [[0, 0], [1, 0], [1, 1], [0, 1], [1, 1]])
    assert any(mark in note for note in found.notes)


def test_a_single_finding_with_a_comma_stays_a_label(write):
    found = read_table(write(rows('"pneumonia, bacterial"', '"pneumonia, viral"', "normal", head="path,label")))
    assert found.findings == ()
    assert len(found.labels) == 3


def test_what_was_written_is_read_again(write, tmp_path):
    from hilum.data.dataset import write_csv

    found = read_table(write(CHEXPERT))
    write_csv(tmp_path / "again.csv", found.rows)
    again = read_table(tmp_path / "again.csv")
    assert again.findings == found.findings
    np.testing.assert_array_equal(finding_values(again), finding_values(found))
    assert [row.label for row in again.rows] == [row.label for row in found.rows]


def test_findings_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": ["0.png", "1.png", "2.png"], "A": [1.0, NAN, 0.0], "B": [0, 1, -1]})
    found = read_frame(frame)
    np.testing.assert_array_equal(finding_values(found), [[1, 0], [NAN, 1], [0, -1]])


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (rows("p,1,0", "p,0,2"), ("A", "B"), "no-finding-value"),
        (rows("p,1,0", "p,0,1"), ("A", "Z"), "no-such-column"),
        (rows("p,1,0", "p,0,1"), ("A",), "single-finding"),
        (rows("p,1,0", "p,0,0"), ("A", "B"), "single-finding"),
        (rows("p,1,0", "p,0,1", head="path,patient,A,a"), (), "twin-findings"),
        (rows("p,1,x", "p,0,y"), (), "unrecognised-columns"),
    ],
    ids=["a two", "no column", "one named", "one left", "twice", "words"],
)
def test_what_cannot_be_is_refused(write, refuses, text, options, code):
    with refuses(TableError, code):
        read_table(write(text), ReadOptions(finding_columns=options))


def test_a_finding_is_read_for_itself(write):
    view = binary_view(read_table(write(CHEXPERT)), "Effusion")
    assert view.values("label") == {"no Effusion": 2, "Effusion": 1}


def test_a_finding_that_is_uncertain_everywhere_is_not_passed_over(write):
    found = read_table(write(rows("p,1,0,-1", "p,0,1,-1", head="path,patient,A,B,C")))
    assert found.findings == ("A", "B", "C")
    assert set(finding_values(found)[:, 2]) == {-1}


@pytest.mark.parametrize("mark", "~^&")
def test_lists_by_another_separator_are_no_exclusive_labels(write, mark):
    lines = [f"p{k},{label}" for k, label in enumerate(["edema", "effusion", f"edema{mark}effusion", "edema"])]
    found = read_table(write(rows(*lines, head="path,patient,label")))
    with pytest.raises(TableError) as caught:
        check_one_finding(found)
    assert caught.value.code == "several-findings"


def test_two_columns_of_labels_may_not_contradict(write, refuses):
    head = "path,patient,label,diagnosis"
    with refuses(TableError, "labels-disagree"):
        read_table(write(rows("p,ill,ill", "q,ill,Healthy", "r,healthy,healthy", head=head)))
    agreeing = read_table(write(rows("p,ill,ILL", "q,ill,pneumonia", "r,healthy,healthy", head=head)))
    assert agreeing.labels == ("healthy", "ill")
    options = ReadOptions(label_column="label", patient_column="patient")
    named = read_table(write(rows("p,ill,ill", "q,ill,healthy", "r,healthy,healthy", head=head)), options)
    assert [row.label for row in named.rows] == ["ill", "ill", "healthy"]
