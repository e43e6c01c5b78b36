import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import crossval, predictions
from reading_pages import Page, assert_self_contained, table_after
from rich.console import Console

from hilum.evaluation.crossval_schema import CrossValidation
from hilum.evaluation.source_comparison import SourceComparison, SourceDrop, SourceResult
from hilum.evaluation.source_folds import NotTested, OnlyAt
from hilum.report.crossval_page import crossval_table, write_crossval_page
from hilum.stats.records import Interval

Snapshot = Callable[[str], None]


def between(low: float, value: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, method="mover")


def comparison(drop: Interval, **more: Any) -> SourceComparison:
    area, half = between(0.44, 0.55, 0.66), between(0.4, 0.5, 0.6)
    rows = [
        SourceResult(
            name=name,
            n_images=60,
            n_patients=40,
            n_train=700,
            prevalence=0.25,
            auroc=area,
            balanced_accuracy=half,
            sensitivity=half,
            specificity=half,
            ordinary=between(0.85, 0.9, 0.94),
            shortcut=between(0.5, 0.6, 0.7),
            shortcut_name="corners",
        )
        for name in ("north", "<b>south</b>")
    ]
    both = SourceDrop(unseen=area, ordinary=between(0.9, 0.93, 0.95), drop=drop)
    given = {"by": "source", "label": "covid", "labels": ["normal", "covid"], "n_train": (700, 698)}
    return SourceComparison(**given, sources=rows, auroc=both, balanced_accuracy=both, **more)


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[SourceComparison], tuple[str, str]]:
    """The page and the console's lines of two folds by source."""

    def show(found: SourceComparison) -> tuple[str, str]:
        parts = [predictions(n=36, right=0.6, seed=k, tag=f"f{k}-") for k in range(2)]
        result = CrossValidation.from_json(crossval(parts)).model_copy(update={"sources": found})
        html = write_crossval_page(tmp_path, result).read_text(encoding="utf-8")
        console = Console(width=120, file=io.StringIO(), force_terminal=True, highlight=False)
        with console.capture() as captured:
            console.print(crossval_table(result))
        return html, captured.get()

    return show


RED = "\x1b[1;31m"


@pytest.mark.parametrize(("drop", "red"), [(between(0.27, 0.38, 0.5), True), (between(-0.1, 0.02, 0.1), False)])
def test_the_drop_stands_first_and_is_red_where_it_is_shown(
    drop: Interval, red: bool, shown: Callable[[SourceComparison], tuple[str, str]], snapshot: Snapshot
) -> None:
    html, console = shown(comparison(drop))
    first = console.splitlines()[0]
    assert first.startswith(RED) == red
    assert "AUROC of covid 0.55" in first
    verdict = re.search(r'<p class="([a-z ]+)">(<strong>)?At a source that it never saw', html)
    assert verdict
    assert verdict[1] == ("note error" if red else "verdict")
    assert html.index("At a source that it never saw") < html.index('<div class="cards">')
    assert_self_contained(html)
    snapshot(re.sub(r"\x1b\[[0-9;]*m", "", console).split("pooled: ")[0])


def test_confounding_stands_before_the_drop(shown: Callable[[SourceComparison], tuple[str, str]]) -> None:
    found = comparison(
        between(0.27, 0.38, 0.5),
        confounded=[OnlyAt(label="covid", source="north", n_images=8)],
        not_tested=[NotTested(name="ward", n_images=3, reason="only 3 patients or pictures")],
    )
    html, console = shown(found)
    assert console.splitlines()[0].startswith(f"{RED}covid comes from one source only (north)")
    text = Page(html).text
    assert text.index("covid comes from one source only") < text.index("At a source that it never saw")
    assert "ward was not tested" in text


def test_each_source_has_a_row_and_its_name_is_text(shown: Callable[[SourceComparison], tuple[str, str]]) -> None:
    html, _ = shown(comparison(between(0.27, 0.38, 0.5)))
    rows = table_after(html, "<h2>Source by source")
    assert [row[0] for row in rows[1:]] == ["north", "&lt;b&gt;south&lt;/b&gt;"]
    assert rows[1][1:6] == ["60", "40", "700", "25.0", "0.550 (0.440 to 0.660)"]
    assert rows[1][8] == "corners"
