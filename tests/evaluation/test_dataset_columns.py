"""What a dataset's table says of where its images come from, as the checklist asks."""

from pathlib import Path

from hilum.data.dataset import Dataset, Row
from hilum.evaluation.subgroups import table_facts


def test_a_table_is_read_under_the_names_that_people_give_their_columns():
    rows = [
        Row(
            f"{i}.png", label, extra={"Hospital": f"h{i % 2}", "StudyDate": date, "PatientSex": "FM"[i % 2], "age": "7"}
        )
        for i, (label, date) in enumerate([("normal", "20180301"), ("covid", "20180301"), ("covid", "1/2/20")])
    ]
    facts = table_facts(Dataset(Path("/data"), rows))
    assert {name: entry.column for name, entry in facts.columns.items()} == {
        "source": "Hospital",
        "site": "Hospital",
        "date": "StudyDate",
        "age": "age",
        "sex": "PatientSex",
    }
    assert facts.columns["site"].by_label == {"normal": {"h0": 1}, "covid": {"h0": 1, "h1": 1}}
    assert facts.columns["age"].by_label["covid"] == {"6-17": 2}
    assert facts.impossible == ["1 images of 'covid' are dated before 2019"]
    assert facts.undated == 1


def test_covid_by_another_name_is_as_impossible_before_2019():
    rows = [Row(f"{i}.png", label, extra={"date": "2017"}) for i, label in enumerate(["Viral-COVID19", "non-covid"])]
    assert table_facts(Dataset(Path("/data"), rows)).impossible == ["1 images of 'Viral-COVID19' are dated before 2019"]


def test_an_empty_column_says_nothing():
    facts = table_facts(Dataset(Path("/data"), [Row("a.png", "normal", extra={"date": " ", "view": "AP"})]))
    assert list(facts.columns) == ["view"]
    assert facts.undated is None
