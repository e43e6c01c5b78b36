"""What is decided, what is shown first, and how it looks on a terminal of 80 columns."""

import copy
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from hilum.serving.console import MOST, Summary, answer_lines, fold
from hilum.serving.legend import legend
from hilum.serving.model_file import open_model_file, shipped_model
from hilum.serving.prediction import Prediction, decide, score_of
from wording import numbers

LABELS = ("normal", "infected/covid", "infected/non-covid")
FLAT = {"hierarchy": "flat", "tree": [], "maps": [], "positive_label": None, "healthy": [], "operating_point": None}


@pytest.fixture(scope="module")
def certified():
    """The model that comes with hilum, with thresholds that stay when it is built anew."""
    shipped = open_model_file(shipped_model())
    facts = copy.deepcopy(dict(shipped.facts))
    for holder in (facts["operating_point"], facts["certificate"]):
        holder |= {"threshold": 0.03539, "image_threshold": 0.03539}
    return replace(shipped, facts=facts)


@pytest.fixture(scope="module")
def uncertified(certified):
    """The same without a certificate."""
    facts = {**copy.deepcopy(dict(certified.facts)), "operating_point": None, "certificate": None}
    return replace(certified, facts=facts)


def probabilities(*row):
    return dict(zip(LABELS, row, strict=True))


def answer(model_file, path, row, unlike="", notes=()):
    found = probabilities(*row)
    label = max(found, key=found.get)
    decision, reason = decide(model_file, found, unlike=unlike)
    return Prediction(path, label, model_file.label_name[label], found, decision, reason, notes)


def screen(summary, width=80):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(answer_lines(summary))
    return console.file.getvalue()


def test_from_the_threshold_on_an_image_is_flagged(certified):
    threshold = certified.point.threshold
    for score in (0.0, np.nextafter(threshold, 0), threshold, 1.0):
        decision, reason = decide(certified, probabilities(1 - score, score, 0))
        assert decision == ("flag" if score >= threshold else "clear")
        assert "3.54 %" in reason
    assert decide(certified, probabilities(0, 1, 0), unlike="strange") == ("abstain", "strange")


def test_without_an_operating_point_nothing_is_flagged_or_cleared(uncertified):
    for row in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert decide(uncertified, probabilities(*row))[0] == "undecided"
    assert decide(uncertified, probabilities(0, 1, 0), chroma=1.0)[0] == "abstain"
    shown = dict(legend(uncertified))
    assert shown.keys() == {"abstain", "undecided"}
    summary = Summary(uncertified)
    summary.add(answer(uncertified, "a.png", (1, 0, 0)))
    assert not re.search(r"\b(clear|flag) ", screen(summary))


def test_every_decision_is_explained_and_clear_is_not_healthy(certified, snapshot):
    shown = dict(legend(certified))
    snapshot("\n".join(shown.values()))
    assert shown.keys() == {"flag", "abstain", "clear"}
    assert "3.54 %" in shown["flag"]
    assert "95 %" in shown["clear"]
    assert "healthy" in shown["clear"]
    assert all("viral pneumonia" in shown[kind] and "covid" not in shown[kind] for kind in ("flag", "clear"))


def test_headings_are_display_names(certified):
    """A column headed covid would be read as COVID-19, which the model has never seen."""
    assert certified.short == {
        "normal": "normal",
        "infected/covid": "viral pneumonia",
        "infected/non-covid": "bacterial pneumonia",
    }
    summary = Summary(certified)
    summary.add(answer(certified, "a.png", (0.9, 0.05, 0.05)))
    head, _, rest = screen(summary).partition("a.png")
    assert "covid" not in head
    assert "viral pneumonia (labelled covid in its training set)" in rest


def test_labels_without_display_names_are_told_apart(certified):
    facts = {**certified.facts, "labels": ["a/x", "b/x", "c/y"], "label_name": {}, **FLAT}
    assert replace(certified, facts=facts).short == {"a/x": "a/x", "b/x": "b/x", "c/y": "y"}
    facts["label_name"] = {"a/x": "pneumonia (viral)", "b/x": "pneumonia (bacterial)"}
    short = replace(certified, facts=facts).short
    assert (short["a/x"], short["b/x"]) == ("pneumonia (viral)", "pneumonia (bacterial)")


def test_one_quantity_has_one_number_of_decimals(certified):
    summary = Summary(certified)
    one = answer(certified, "a.png", (0.9, 0.0712345, 0.0287655))
    summary.add(one)
    score = certified.percent(score_of(certified, one.probabilities))
    assert score == "7.12 %"
    assert score in one.reason
    assert score in screen(summary)
    for threshold, shown in ((0.5, "50.0 %"), (0.0354, "3.54 %"), (0.00123, "0.123 %")):
        both = {"threshold": threshold, "image_threshold": threshold}
        facts = {**certified.facts, "operating_point": {**certified.facts["operating_point"], **both}}
        assert replace(certified, facts=facts).percent(threshold) == shown


@given(st.lists(st.tuples(st.floats(0, 0.999), st.sampled_from(["", "strange", "error"])), min_size=1, max_size=120))
def test_the_most_urgent_come_first_and_few_are_kept(certified, images):
    summary, given = Summary(certified), []
    for number, (score, kind) in enumerate(images):
        if kind == "error":
            summary.add(Prediction(f"{number}.png", error="bad"))
            continue
        given.append(answer(certified, f"{number}.png", (1 - score, score, 0), unlike=kind))
        summary.add(given[-1])
    order = {"flag": 0, "abstain": 1, "clear": 2}
    expected = sorted(given, key=lambda one: (order[one.decision], -one.probabilities["infected/covid"]))
    assert summary.urgent() == expected[:MOST]
    assert summary.total == len(images)
    assert len(summary.failed) == min(MOST, summary.errors)


def test_what_is_left_out_is_said(certified, snapshot):
    summary = Summary(certified)
    for number in range(100):
        summary.add(answer(certified, f"{number}.png", (0.99, 0.01, 0)))
    summary.add(answer(certified, "last.png", (0.1, 0.9, 0)))
    text = screen(summary)
    assert {str(MOST), "101"} <= numbers(text)
    snapshot(text)
    assert text.index("last.png") < text.index("\n0.png")


def test_one_reason_of_many_images_is_said_once(certified):
    summary = Summary(certified)
    for number in range(30):
        summary.add(answer(certified, f"{number}.png", (0.9, 0.1, 0), unlike="strange as can be", notes=("Lateral.",)))
    text = screen(summary)
    assert text.count("strange as can be") == text.count("Lateral.") == 1


def test_no_path_is_broken_within_a_word_at_80_columns(certified):
    summary = Summary(certified)
    name = "very-long-name_of_a-file_that-goes_on-and-on_0123456789.jpeg"
    for number in range(3):
        path = f"/data/hospital/another_folder/sub-{number}/{name}"
        summary.add(answer(certified, path, (0.9, 0.1, 0), unlike="strange"))
    text = screen(summary)
    assert max(map(cell_len, text.splitlines())) <= 80
    pieces = set(re.findall(r"[a-z0-9]+", text))
    assert set(re.findall(r"[a-z0-9]+", name)) <= pieces


@given(
    st.text(st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "Mn")), min_size=1),
    st.integers(2, 40),
)
def test_a_folded_path_is_whole_and_broken_behind_separators(name, width):
    lines = fold(name, width)
    assert "".join(lines) == name
    assert all(cell_len(line) <= width for line in lines)
    if all(cell_len(piece) <= width for piece in re.findall(r"[^/\\_\- ]*[/\\_\- ]|[^/\\_\- ]+", name)):
        assert all(line[-1] in "/\\_- " for line in lines[:-1])


def test_many_labels_fit(certified):
    labels = [f"label {chr(97 + k)}" for k in range(17)]
    facts = {**certified.facts, "labels": labels, "label_name": {}, **FLAT}
    model_file = replace(certified, facts=facts)
    summary = Summary(model_file)
    found = dict.fromkeys(labels, 1 / 17) | {"label c": 0.5}
    summary.add(Prediction("a.png", "label c", "label c", found, "undecided", "no operating point"))
    text = screen(summary)
    assert "50.0 %" in text
    assert "label c" in text.splitlines()[1]
    assert max(map(len, text.splitlines())) <= 80
