import itertools
import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from hilum.report.figures import (
    OKABE_ITO,
    Slice,
    class_bars,
    label_colours,
    measure_dots,
    pie,
    shown,
    spread,
    training_curves,
)
from hilum.stats.records import Interval

LABELS = ("normal", "infected/covid", "infected/non-covid")
COUNTS = {
    "train": {"normal": 1341, "infected/covid": 1345, "infected/non-covid": 2530},
    "test": {"normal": 8},
}


def texts(figure: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(figure).iter() if element.tag == "text"]


def fills(figure: str) -> list[str]:
    return [element.get("style", "") for element in ElementTree.fromstring(figure).iter("path")]


def test_bars_name_labels_and_counts() -> None:
    drawn = texts(class_bars(COUNTS, label_colours(LABELS), "f"))
    assert set(LABELS) <= set(drawn)
    assert {"train · 5,216", "test · 8", "1,341 · 25.7 %", "2,530 · 48.5 %", "8 · 100.0 %"} <= set(drawn)


def test_bars_are_as_long_as_their_counts() -> None:
    """Widths are read off the drawn paths."""
    colours = label_colours(LABELS)
    figure = ElementTree.fromstring(class_bars({"train": COUNTS["train"]}, colours, "f"))
    widths = {}
    for path in figure.iter("path"):
        for label, colour in colours.items():
            if f"fill: {colour}" in path.get("style", ""):
                xs = [float(x) for x in re.findall(r"[ML] (\S+)", path.get("d", ""))]
                widths[label] = max(xs) - min(xs)
    assert widths["infected/non-covid"] / widths["normal"] == pytest.approx(2530 / 1341, rel=1e-3)


def test_pie_names_parts_with_shares_and_leaves_out_nothing_else() -> None:
    parts = [
        Slice("normal", 1, "#112233"),
        Slice("none", 0, "#445566"),
        Slice("infected/covid", 3, "#778899"),
    ]
    figure = pie(parts, "p", "Pie")
    drawn = texts(figure)
    assert any("normal" in text for text in drawn)
    assert any("25.0 %" in text for text in drawn)
    assert not any("none" in text for text in drawn)
    assert sum("fill: #112233" in style for style in fills(figure)) == 1
    assert not any("#445566" in style for style in fills(figure))


def test_pie_of_one_part_is_drawn() -> None:
    assert any("100.0 %" in text for text in texts(pie([Slice("only", 4, "#112233")], "p", "Pie")))


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=15), st.floats(0.05, 0.6))
def test_spread_keeps_order_and_distance(heights: list[float], gap: float) -> None:
    heights = sorted(heights, reverse=True)
    moved = spread(heights, gap)
    assert all(upper - lower >= gap - 1e-9 for upper, lower in itertools.pairwise(moved))
    if all(upper - lower >= gap for upper, lower in itertools.pairwise(heights)):
        np.testing.assert_allclose(moved, heights, atol=1e-9)


def test_spread_is_the_least_squares_answer() -> None:
    heights, gap = np.array([1.1, 1.0, 0.95, 0.2, -0.9, -0.95]), 0.3
    constraints = [{"type": "ineq", "fun": lambda z, i=i: z[i] - z[i + 1] - gap} for i in range(5)]
    best = minimize(lambda z: ((z - heights) ** 2).sum(), heights, constraints=constraints, tol=1e-12)
    np.testing.assert_allclose(spread(list(heights), gap), best.x, atol=1e-5)


def test_curves_say_what_they_show_and_mark_the_best() -> None:
    history = [
        {"step": 10.0 * e, "train_loss": 1 / e, "val_loss": 1.2 / e, "val_accuracy": 0.5 + e / 20, "lr": 0.01}
        for e in range(1, 8)
    ]
    with_best, without = training_curves(history, 40, "f"), training_curves(history, None, "f")
    assert {"training", "validation", "kept checkpoint", "Validation accuracy"} <= set(texts(with_best))
    assert "kept checkpoint" not in texts(without)
    assert "Kept checkpoint at step 40." in with_best


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
def test_curves_survive_broken_losses(value: float) -> None:
    history = [
        {"step": 1.0, "train_loss": value, "val_loss": 0.7, "val_accuracy": 0.5, "lr": 0.0},
        {"step": 2.0, "train_loss": 0.6, "val_loss": 0.5, "val_accuracy": 0.6, "lr": 0.0},
    ]
    assert "<path" in training_curves(history, 2, "f")
    assert "<path" in training_curves(history[:1], 1, "f")


def test_dots_name_labels_and_undefined_values() -> None:
    entry, missing = Interval(value=0.9, low=0.8, high=0.95), Interval()
    by_label = {"normal": entry, "infected/covid": missing, "infected/non-covid": entry}
    drawn = texts(measure_dots({"Recall": by_label, "AUROC": by_label}, label_colours(LABELS), "f"))
    assert set(LABELS) <= set(drawn)
    assert drawn.count("undefined") == 2
    assert "90 %" in drawn


def test_names_are_drawn_as_they_are() -> None:
    odd = ("<b>x", "cost $5$", "日本 & co")
    figure = class_bars({"train": dict.fromkeys(odd, 3)}, label_colours(odd), "f")
    assert set(odd) <= set(texts(figure))
    assert "<b>" not in figure


def test_ids_of_two_figures_do_not_meet() -> None:
    def ids(figure: str) -> set[str]:
        return {element.attrib["id"] for element in ElementTree.fromstring(figure).iter() if "id" in element.attrib}

    colours = label_colours(LABELS)
    one, two = class_bars(COUNTS, colours, "one"), class_bars(COUNTS, colours, "two")
    assert ids(one)
    assert not ids(one) & ids(two)


def test_drawing_changes_no_settings_of_matplotlib() -> None:
    before = dict(mpl.rcParams)
    class_bars(COUNTS, label_colours(LABELS), "f")
    assert dict(mpl.rcParams) == before


def test_colours_are_distinct_and_start_with_okabe_ito() -> None:
    colours = label_colours([str(k) for k in range(21)])
    assert len(set(colours.values())) == 21
    assert list(colours.values())[:7] == list(OKABE_ITO)


def test_long_and_unprintable_names_are_tamed() -> None:
    assert shown("a\x00b\nc") == "a\\x00b\\x0ac"
    long = shown("x" * 20 + "y" * 80)
    assert len(long) <= 30
    assert "…" in long
    assert shown("x" * 30) == "x" * 30
