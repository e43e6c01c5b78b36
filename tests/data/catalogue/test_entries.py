"""The catalogue of public datasets: complete, and in agreement with what reads them."""

import pytest

from hilum.data.catalogue.entries import catalogue, citation, title_of
from hilum.data.options import ReadOptions
from hilum.data.patients import RULES
from hilum.data.readers.public.known_layouts import LAYOUTS


def test_every_entry_has_a_layout_and_every_layout_a_title():
    names = {layout.name for layout in LAYOUTS}
    assert catalogue().keys() <= names
    assert all(title_of(name) for name in names)


def test_entries_cite_a_publication_and_a_source_of_each_problem():
    for key, entry in catalogue().items():
        assert entry.key == key
        assert str(entry.year) in entry.citation or entry.year <= 2021, key
        assert entry.url.startswith("https://")
        assert all(problem.text.endswith(".") and problem.source for problem in entry.problems)


def test_sets_of_before_2020_say_that_they_cannot_contain_covid_19():
    early = {entry.key for entry in catalogue().values() if entry.year < 2019}
    assert early == {"kermany", "kermany-150", "nih", "rsna", "shenzhen", "montgomery"}
    assert all("cannot contain COVID-19" in catalogue()[key].cannot_show for key in early)


def test_rules_of_file_names_are_of_known_datasets():
    known = " ".join(entry.name for entry in catalogue().values())
    assert all(rule.name.split()[0].split("/")[0] in known for rule in RULES)


@pytest.mark.parametrize(("key", "label"), [("darkcovidnet", "covid"), ("kermany-150", "infected/covid")])
def test_a_problem_of_a_label_ends_with_its_images(key, label):
    def errors(*label_map):
        return [
            note for note in citation(key, ReadOptions(label_map=label_map)) if note.startswith("Published problem")
        ]

    assert len(errors()) == 1
    assert errors((label, "viral"), ("normal", "")) == errors()
    assert errors((label.replace("covid", "non-covid"), "")) == errors()
    assert errors((label, "")) == []
