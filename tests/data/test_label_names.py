"""What the names of labels mean for a dataset: one spelling each, none that says nothing, none for several findings."""

import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from hilum.data import dataset as packing
from hilum.data.dataset import Dataset, Row
from hilum.data.label_names import (
    check_one_finding,
    nested_findings,
    several_findings,
    several_in_words,
    tidy_labels,
    without_decimals,
)
from hilum.data.readers.read import read_table
from hilum.errors import TableError
from wording import numbers


def table(counts):
    names = (label for label, count in counts.items() for _ in range(count))
    return Dataset(Path("data"), tuple(Row(f"{k}.png", label) for k, label in enumerate(names)))


def tidied(counts):
    return dict(Counter(row.label for row in tidy_labels(table(counts)).rows))


NFD = unicodedata.normalize("NFD", "Sécrétions")
ONE = {  # what is written, and what is read: the spelling that most images have
    "case": ({"Normal": 7, "NORMAL": 6, "P": 5}, {"Normal": 13, "P": 5}),
    "a blank at the end": ({"NORMAL ": 8, "NORMAL": 4, "P": 3}, {"NORMAL": 12, "P": 3}),
    "a blank at the end of the only one": ({" NORMAL ": 8, "P": 3}, {"NORMAL": 8, "P": 3}),
    "blanks within": ({"No  Finding": 2, "No Finding": 1, "P": 3}, {"No Finding": 3, "P": 3}),
    "no-break blanks": ({"No\u00a0Finding": 2, "No Finding": 1, "P": 3}, {"No Finding": 3, "P": 3}),
    "invisible letters": ({"Normal\u200b": 2, "\ufeffNormal": 1, "P": 3}, {"Normal": 3, "P": 3}),
    "composed letters": ({"Sécrétions": 4, NFD: 12, "P": 1}, {"Sécrétions": 16, "P": 1}),
    "composed letters only": ({NFD: 12, "P": 1}, {"Sécrétions": 12, "P": 1}),
    "hyphens": ({"COVID-19": 5, "covid_19": 2, "COVID 19": 1, "Covid19": 1, "P": 1}, {"COVID-19": 9, "P": 1}),
    "other hyphens": ({"COVID-19": 2, "COVID\u201119": 1, "COVID\u201319": 1, "P": 1}, {"COVID-19": 4, "P": 1}),
    "folders above": ({"Ill/covid": 3, "ill/other": 9, "normal": 1}, {"ill/covid": 3, "ill/other": 9, "normal": 1}),
    "decimals of pandas": ({"0.0": 3, "1.0": 4}, {"0": 3, "1": 4}),
    "decimals beside whole numbers": ({"0": 3, "1.0": 4, "1": 1, "nan": 2}, {"0": 3, "1": 5}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE)
def test_spellings_of_one_label_are_one_and_said(kind):
    written, read = ONE[kind]
    assert tidied(written) == read
    notes = tidy_labels(table(written)).notes
    for label in set(read) - set(written):
        assert any(f"'{label}'" in note for note in notes)
    assert all(note.isprintable() for note in notes)


@pytest.mark.parametrize(
    "counts",
    [
        {"COVID-": 1, "COVID+": 2, "COVID": 3},  # a sign may be a result
        {"grade 1-1": 2, "grade 11": 4},
        {"grade 1.0": 2, "grade 1.5": 4},
        {"ARDS": 1, "ARD": 2},
        {"0.5": 1, "1.0": 2, "1": 3},
        {"mass": 1, "mas": 2},
        {"pneumonia": 1, "pneumonia/viral": 2},
        {"infected/unknown": 3, "normal": 3},
        {"other": 1, "normal": 2},
    ],
)
def test_labels_that_are_two_stay_two(counts):
    assert tidied(counts) == counts
    assert tidy_labels(table(counts)).notes == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [("Normal", "Normals"), ("opacity", "Opacities"), ("Mass", "Masses"), ("COVID case", "COVID_cases")],
)
def test_singular_and_plural_stop_and_are_both_shown(one, other, refuses):
    with refuses(TableError, "twin-labels") as caught:
        tidied({one: 3, other: 2, "x": 1})
    assert all(f"'{name}'" in caught.value.message for name in (one, other))


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "NA", "N/A", "n/a", "null", "<NA>", "#N/A", "?", "todo", "TBD", "unknown", "Unlabeled", ""]
)
def test_rows_without_a_label_are_left_out_and_counted(word, monkeypatch):
    counts = {"normal": 3, word: 2, "x": 1}
    for fewest in (20_000, 2):  # as objects, and in columns
        monkeypatch.setattr(packing, "PACK_FROM", fewest)
        assert tidied(counts) == {"normal": 3, "x": 1}
        (note,) = tidy_labels(table(counts)).notes
        assert note.startswith("left out 2 images without a label")


def test_none_may_be_a_diagnosis_and_is_asked_about(refuses):
    assert tidied({"normal": 3, "None": 2, "x": 1}) == {"normal": 3, "x": 1}
    for word in ("None", "-", "none"):
        with refuses(TableError, "unclear-label"):
            tidied({word: 3, "x": 1})


def test_a_folder_of_images_without_a_label_is_left_out_too(write_dataset, snapshot):
    found = read_table(write_dataset(labels=("normal", "x", "todo"), splits=("",), patients=3, metadata=False))
    assert found.labels == ("normal", "x")
    snapshot("\n".join(found.notes))
    assert {"6"} <= numbers("\n".join(found.notes))


def test_whole_numbers_that_were_written_as_decimals():
    assert without_decimals(["1", "2.0", "p3"]) == {"2.0": "2"}
    assert without_decimals(["1.5", "2.0"]) == {}


SEVERAL = {  # labels, and those that list several findings
    "NIH": (["Cardiomegaly", "Cardiomegaly|Effusion", "No Finding"], ["Cardiomegaly|Effusion"]),
    "ieee8023": (["COVID-19", "COVID-19, ARDS", "ARDS", "Streptococcus"], ["COVID-19, ARDS"]),
    "one of them alone": (["COVID-19", "COVID-19; ARDS", "Streptococcus"], ["COVID-19; ARDS"]),
    "plus": (["COVID-19 + Effusion", "covid 19", "normal"], ["COVID-19 + Effusion"]),
    "none alone": (["A|B", "A|C", "normal"], ["A|B", "A|C"]),
    "all in others": (["A, B", "B, C", "A, C", "normal"], ["A, B", "A, C", "B, C"]),
    "below a folder": (["infected/covid", "infected/covid;effusion", "normal"], ["infected/covid;effusion"]),
    "the same in another order": (["A+B", "B+A", "normal"], ["A+B", "B+A"]),
    "a finding and its cause": (["pneumonia, bacterial", "pneumonia, viral", "normal"], []),
    "places": (["mass, left upper lobe", "nodule, left upper lobe", "normal"], []),
    "signs": (["COVID+", "COVID-", "normal"], []),
    "a taxonomy": (["Pneumonia/Viral/COVID-19", "Pneumonia/Viral", "No Finding"], []),
    "a single list": (["A|B", "normal"], []),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_lists_of_findings_are_told_from_names_with_a_comma(kind):
    labels, lists = SEVERAL[kind]
    assert list(several_findings(labels)) == lists


def test_several_findings_are_read_with_a_note_and_not_trained_on(tmp_path, refuses, snapshot):
    rows = "".join(f"{k}.png,{label}\n" for k, label in enumerate(["A", "A+B", "A+B", "normal"]))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}")
    found = read_table(tmp_path / "t.csv")
    assert found.labels == ("normal", "A", "A+B")
    snapshot("\n".join(found.notes))
    assert {"2", "4"} <= numbers("\n".join(found.notes))
    with refuses(TableError, "several-findings"):
        check_one_finding(found)
    plain = table({"A": 1, "normal": 2})
    assert several_in_words(plain) == ""
    check_one_finding(plain)


def test_a_finding_may_hold_another():
    assert nested_findings("COVID-19, ARDS", "COVID-19")
    assert nested_findings("covid 19", "COVID-19|Effusion")
    assert nested_findings("Pneumonia/Viral", "Pneumonia/Viral/COVID-19")
    assert not nested_findings("COVID-19, ARDS", "COVID-19, Effusion")
    assert not nested_findings("normal", "abnormal")
