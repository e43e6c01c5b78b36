import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import LABELS, crossval, predictions
from reading_pages import Page, assert_self_contained, table_after

from hilum.evaluation.crossval_schema import CrossValidation
from hilum.report.comparison_page import FoldRow, fold_dots
from hilum.report.crossval_page import write_crossval_page
from hilum.stats.records import Interval

pytestmark = pytest.mark.usefixtures("small_evaluation")

Snapshot = Callable[[str], None]


def html_of(folder: Path, result: dict[str, Any]) -> str:
    return write_crossval_page(folder, CrossValidation.from_json(result)).read_text(encoding="utf-8")


@pytest.fixture
def result() -> dict[str, Any]:
    return crossval([predictions(n=36, right=0.6 + 0.1 * k, seed=k, tag=f"f{k}-") for k in range(3)])


def test_pooled_matrix_counts_every_image_once(tmp_path: Path, result: dict[str, Any]) -> None:
    rows = table_after(html_of(tmp_path, result), "<h2>All folds pooled")
    body = [[int(cell) for cell in row[-5:-2]] for row in rows[2:5]]
    summed = [[sum(fold["confusion"][i][j] for fold in result["per_fold"]) for j in range(3)] for i in range(3)]
    assert body == summed
    assert sum(map(sum, body)) == 108


def test_headline_is_the_pooled_result(tmp_path: Path, result: dict[str, Any], snapshot: Snapshot) -> None:
    page = Page(html_of(tmp_path, result))
    right = sum(fold["confusion"][i][i] for fold in result["per_fold"] for i in range(3))
    assert re.search(rf"Accuracy {100 * right / 108:.1f} % \(95 % CI [\d.]+ to [\d.]+\) on 108 images", page.text)
    snapshot(page.lines)


def test_folds_are_listed_with_their_own_numbers(tmp_path: Path, result: dict[str, Any]) -> None:
    html = html_of(tmp_path, result)
    rows = table_after(html, "<h2>Fold by fold")
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "All"]
    for row, fold in zip(rows[1:], [*result["per_fold"], result["pooled"]], strict=True):
        values = [fold["accuracy"], fold["balanced_accuracy"], *(fold["recall"][label] for label in LABELS)]
        expected = [f"{100 * entry['value']:.1f} %" for entry in values]
        assert row[1:] == [str(fold["n_images"]), str(fold["n_patients"]), *expected]
    mean = sum(fold["accuracy"]["value"] for fold in result["per_fold"]) / 3
    assert f"Over the folds: accuracy {100 * mean:.1f} % (SD" in Page(html).text.replace("\xa0", " ")


def test_missed_protected_images_are_counted(tmp_path: Path, result: dict[str, Any]) -> None:
    missed = [12 - fold["confusion"][1][1] for fold in result["per_fold"]]
    told = f"False negatives of infected/covid: {sum(missed)} of 36 images together; by fold " + ", ".join(
        f"{count} of 12" for count in missed
    )
    assert told in Page(html_of(tmp_path, result)).text


def test_nothing_protected_and_unknown_patients(tmp_path: Path, snapshot: Snapshot) -> None:
    parts = [predictions(("a", "b"), 20, seed=k, patients=False, tag=f"f{k}-") for k in range(2)]
    html = html_of(tmp_path, crossval(parts, positive_label=None, notes=["WARNING: patients are unknown"]))
    page = assert_self_contained(html)
    snapshot(page.lines)
    assert table_after(html, "<h2>Fold by fold")[1][2] == "–"


def test_page_is_self_contained_and_repeats_itself(tmp_path: Path, result: dict[str, Any]) -> None:
    html = html_of(tmp_path, result)
    page = assert_self_contained(html)
    assert page.tags["svg"] == 2
    assert html == html_of(tmp_path, result)


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    labels = ("<b>x", 'a$b$ & "c"', "x' onload='y")
    parts = [predictions(labels, 30, seed=k, tag=f"f{k}-") for k in range(2)]
    result = crossval(parts, positive_label="<b>x", notes=["<script>1</script>"])
    result["pooled"]["unreadable"] = [{"path": "<i>.png", "message": "</ul>"}]
    html = html_of(tmp_path, result)
    page = assert_self_contained(html)
    assert not re.search(r"<script|<b>x|<i>\.png", html)
    for name in (*labels, "<script>1</script>", "<i>.png", "</ul>"):
        assert name in page.text


def test_fold_without_a_label_shows_a_dash(tmp_path: Path, result: dict[str, Any]) -> None:
    result["per_fold"][1]["recall"]["normal"] = {"value": None, "low": None, "high": None}
    html = html_of(tmp_path, result)
    assert table_after(html, "<h2>Fold by fold")[2][5] == "–"
    assert "None" not in Page(html).text


def test_many_labels_and_folds(tmp_path: Path) -> None:
    labels = tuple(f"group/finding {k:02}" for k in range(12))
    parts = [predictions(labels, 48, seed=k, tag=f"f{k}-") for k in range(10)]
    page = assert_self_contained(html_of(tmp_path, crossval(parts, positive_label=None)))
    assert all(page.text.count(label) >= 4 for label in labels)


def test_every_fold_has_its_dot() -> None:
    entry, nothing = Interval(value=0.8, low=0.7, high=0.9), Interval()
    figure = fold_dots([FoldRow("Accuracy", (0.8, 0.8, None), entry), FoldRow("Recall", (None,) * 3, nothing)], "f")
    texts = re.findall(r">([^<>]+)</text>", figure)
    assert [text for text in texts if text in ("1", "2", "3")] == ["1", "2"]
    assert texts.count("undefined") == 1
