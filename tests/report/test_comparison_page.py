import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import LABELS, comparison, predictions
from reading_pages import Page, assert_self_contained, table_after

from hilum.evaluation.comparison import Comparison
from hilum.evaluation.differences import gains_over_seeds
from hilum.report.comparison_page import write_comparison_page
from hilum.report.comparison_text import most_changed, verdict
from hilum.text import p_equals, signed, signed_range
from wording import numbers

Snapshot = Callable[[str], None]
NOTHING = {"value": None, "low": None, "high": None}


def html_of(folder: Path, facts: dict[str, Any]) -> str:
    return write_comparison_page(folder / "comparison.html", Comparison.from_json(facts)).read_text(encoding="utf-8")


def told(facts: dict[str, Any]) -> str:
    return verdict(Comparison.from_json(facts))


def changed(facts: dict[str, Any]) -> str:
    comparison = Comparison.from_json(facts)
    return most_changed(comparison, comparison.rules["argmax"])


@pytest.fixture
def facts() -> dict[str, Any]:
    return comparison(predictions(right=0.6), predictions(right=0.8, seed=1))


def test_the_numbers_are_those_of_the_json(tmp_path: Path, facts: dict[str, Any]) -> None:
    html = html_of(tmp_path, facts)
    found = facts["rules"]["argmax"]
    rows = table_after(html, "Decoded by argmax (the most probable label)")
    accuracy = found["accuracy"]
    assert rows[1] == [
        "Accuracy",
        f"{100 * accuracy['first']['value']:.1f} %",
        f"{100 * accuracy['second']['value']:.1f} %",
        f"{100 * accuracy['difference']['value']:+.1f}".replace("-", "−"),
    ]
    assert [row[0].removesuffix(" positive") for row in rows[3:]] == [
        f"Sensitivity (recall) of {label}" for label in LABELS
    ]
    assert rows[4][2] == f"{100 * found['recall']['infected/covid']['second']['value']:.1f} %"
    areas = table_after(html, "<h2>AUROC")
    assert [row[1] for row in areas[1:]] == [f"{facts['auroc'][label]['first']['value']:.3f}" for label in LABELS]


def test_who_was_right_alone_adds_up(tmp_path: Path, facts: dict[str, Any]) -> None:
    html = html_of(tmp_path, facts)
    rows = table_after(html, '<table class="numbers alone">')
    counts = [int(cell) for row in rows[1:] for cell in row[1:]]
    table = facts["rules"]["argmax"]["mcnemar"]
    assert counts == [table["both"], table["first_only"], table["second_only"], table["neither"]]
    assert sum(counts) == facts["n_images"]


def test_no_difference_is_called_so(tmp_path: Path, snapshot: Snapshot) -> None:
    same = predictions()
    facts = comparison(same, same)
    page = Page(html_of(tmp_path, facts))
    snapshot(page.lines)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (0.2, 0.95, "cascade is right {} points more often than flat, significantly"),
        (0.95, 0.2, "cascade is right {} points less often than flat, significantly"),
        (0.8, 0.82, "compatible with chance"),
    ],
)
def test_the_verdict_names_the_better_one_and_how_surely(first: float, second: float, words: str) -> None:
    facts = comparison(predictions(right=first), predictions(right=second, seed=7))
    difference = facts["rules"]["argmax"]["accuracy"]["difference"]["value"]
    assert words.format(f"{abs(100 * difference):.1f}") in told(facts)


def test_equally_often_right_is_not_the_same_answers(snapshot: Callable[[str], None]) -> None:
    one = predictions(n=60, right=1.0)
    swapped = np.eye(3)[[*((one.truth[:2] + 1) % 3), *one.truth[2:]]]
    other = np.eye(3)[[*one.truth[:2], *((one.truth[2:4] + 1) % 3), *one.truth[4:]]]
    facts = comparison(replace(one, probabilities=swapped), replace(one, probabilities=other))
    snapshot(told(facts))


def test_what_changed_most_leads() -> None:
    """One label is lost while the accuracy hardly moves: other labels make up for it."""
    first, truth = predictions(n=240, right=0.8), predictions(n=240).truth
    lost = np.where(truth == 1, 2, np.where(np.arange(240) % 20 == 0, 1, truth))
    facts = comparison(replace(first, probabilities=np.eye(3)[np.where(truth == 1, 1, first.predicted)]),
                       replace(first, probabilities=np.eye(3)[lost]))  # fmt: skip
    found = facts["rules"]["argmax"]
    assert found["recall"]["infected/covid"]["second"]["value"] == 0
    assert changed(facts).startswith("the sensitivity (recall) of infected/covid falls from 100.0 to 0.0 %")
    assert told(facts).index("infected/covid") < told(facts).index("right")


def test_a_fall_of_the_positive_label_leads_before_a_larger_rise(facts: dict[str, Any]) -> None:
    found = facts["rules"]["argmax"]
    found["recall"]["normal"]["difference"] = {"value": 0.5, "low": 0.4, "high": 0.6}
    found["recall"]["infected/covid"]["difference"] = {"value": -0.05, "low": -0.08, "high": -0.02}
    said = changed(facts)
    assert said.index("infected/covid falls") < said.index("normal rises")


def test_small_changes_do_not_lead(facts: dict[str, Any]) -> None:
    found = facts["rules"]["argmax"]
    for entry in found["recall"].values():
        entry["difference"] = {"value": -0.2, "low": -0.5, "high": 0.1}
    assert not changed(facts)


def test_every_recipe_key_that_differs_is_listed(tmp_path: Path, facts: dict[str, Any], snapshot: Snapshot) -> None:
    rows = [
        {"key": "training.lr", "first": "0.001", "second": "0.01"},
        {"key": "splits.x", "first": None, "second": "1"},
    ]
    page = Page(html_of(tmp_path, facts | {"recipe_differences": rows}))
    for word in ("training.lr", "0.001", "0.01", "splits.x"):
        assert word in page.text
    unknown = Page(html_of(tmp_path, facts))  # of an earlier version nothing is known
    snapshot(Page(html_of(tmp_path, facts | {"recipe_differences": []})).said_beside(unknown))


def test_specificity_and_predictive_values_are_shown_unless_an_earlier_version_lacks_them(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    found = facts["rules"]["argmax"]
    rows = table_after(html_of(tmp_path, facts), "Specificity, PPV and NPV")
    assert len(rows) == 1 + 3 * len(LABELS)
    assert rows[1][1] == f"{100 * found['specificity']['normal']['first']['value']:.1f} %"
    assert rows[4][3] == signed(found["ppv"]["normal"]["difference"]["value"])
    for rule in (*facts["rules"].values(), *facts["rule_effect"]):
        for key in ("specificity", "ppv", "npv"):
            del rule[key]
    assert "Specificity" not in html_of(tmp_path, facts)


def test_interval_and_p_may_disagree(facts: dict[str, Any], snapshot: Callable[[str], None]) -> None:
    found = facts["rules"]["argmax"]
    found["accuracy"]["difference"] = {"value": 0.023, "low": -0.001, "high": 0.05}
    found["patients"]["p_value"] = 0.03
    snapshot(told(facts))
    assert {"2.3"} <= numbers(told(facts))


def test_rule_and_network_are_told_apart(tmp_path: Path, facts: dict[str, Any]) -> None:
    html = html_of(tmp_path, facts)
    rows = table_after(html, "<h2>Network or decoding?")
    for row, effect in zip(rows[1:3], facts["rule_effect"], strict=True):
        entry = effect["accuracy"]
        assert row[1:3] == [f"{100 * entry[which]['value']:.1f} %" for which in ("first", "second")]
        assert row[3] == signed(entry["difference"]["value"])
    assert rows[3][1:3] == [
        signed(facts["rules"][rule]["accuracy"]["difference"]["value"]) for rule in ("argmax", "top_down")
    ]


def test_labels_without_nesting_have_one_rule_and_unknown_patients_a_warning(
    tmp_path: Path, snapshot: Snapshot
) -> None:
    labels = ("a", "b")
    facts = comparison(predictions(labels, patients=False), predictions(labels, right=0.7, seed=2, patients=False))
    assert facts["rule_effect"] is None
    page = assert_self_contained(html_of(tmp_path, facts))
    snapshot(page.lines)
    assert page.tags["svg"] == 1


def test_page_is_self_contained_and_repeats_itself(tmp_path: Path, facts: dict[str, Any]) -> None:
    html = html_of(tmp_path, facts)
    page = assert_self_contained(html)
    assert page.tags["svg"] == 2
    assert html == html_of(tmp_path, facts)


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    labels = ("<b>x", 'a$b$ & "c"', "x' onload='y")
    facts = comparison(
        predictions(labels), predictions(labels, seed=3), names=("<script>1</script>", "</h1>"), notes=["<i>note"]
    )
    html = html_of(tmp_path, facts)
    page = assert_self_contained(html)
    assert not re.search(r"<script|<b>x|<i>note", html)
    for name in (*labels, "<script>1</script>", "</h1>", "<i>note"):
        assert name in page.text


def test_undefined_measures_are_dashes(tmp_path: Path, facts: dict[str, Any]) -> None:
    undefined = {"first": NOTHING, "second": NOTHING, "difference": NOTHING}
    facts["auroc"]["normal"] = facts["rules"]["argmax"]["recall"]["normal"] = undefined
    html = html_of(tmp_path, facts)
    assert table_after(html, "<h2>AUROC")[1] == ["normal", "–", "–", "–"]
    assert "undefined" in html
    assert "None" not in Page(html).text


def test_twenty_labels_are_all_there(tmp_path: Path) -> None:
    labels = tuple(f"group/finding {k:02}" for k in range(20))
    page = assert_self_contained(
        html_of(tmp_path, comparison(predictions(labels, 120), predictions(labels, 120, seed=1)))
    )
    assert all(page.text.count(label) >= 3 for label in labels)


def test_what_the_sample_could_have_shown(tmp_path: Path, facts: dict[str, Any], snapshot: Snapshot) -> None:
    patients = facts["rules"]["argmax"]["patients"]
    patients |= {"smallest_significant": 0.0425, "detectable": 0.0714, "discordant_patients": 12}
    text = Page(html_of(tmp_path, facts)).text
    snapshot(Page(html_of(tmp_path, facts)).lines)
    assert re.search(r"significant \(p < 0\.05\) is 4\.2 points; a true difference of 7\.1 points", text)
    patients |= {"smallest_significant": None, "detectable": None, "discordant_patients": 1}
    snapshot(Page(html_of(tmp_path, facts)).lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0231, "+2.3"),
        (-0.005, "−0.5"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (0.0002, "+0.02"),
        (None, "–"),
        (1e-9, "0.00"),
        (1e-17, "0.0"),
    ],
)
def test_signed(value: float | None, text: str) -> None:
    assert signed(value) == text


def test_range_and_p() -> None:
    assert signed_range({"low": -0.005, "high": 0.051}) == "−0.5 to +5.1"
    assert signed_range({"low": None, "high": 0.051}) == "–"
    assert (p_equals(0.112), p_equals(0.0301), p_equals(1e-5)) == ("p = 0.11", "p = 0.030", "p < 0.001")


def test_a_gain_over_seeds_is_shown_with_every_seed(tmp_path: Path, facts: dict[str, Any]) -> None:
    pairs = [(predictions(right=0.5, seed=k), predictions(right=0.9 - 0.1 * k, seed=k + 5)) for k in range(3)]
    found = gains_over_seeds(pairs).as_json()
    html = html_of(tmp_path, facts | {"over_seeds": found})
    rows = table_after(html, "pairs of seeds</h2>")
    accuracy = found["accuracy"]
    assert rows[1][1] == ", ".join(signed(value) for value in accuracy["values"])
    assert rows[1][2].startswith(signed(accuracy["value"]))
    assert len(rows) == 1 + 2 + 2 * 3
    assert "pairs of seeds" not in html_of(tmp_path, facts)
