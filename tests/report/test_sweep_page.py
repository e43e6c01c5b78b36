import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import sweep
from reading_pages import Page, assert_self_contained, table_after

from hilum.report.sweep_figures import Setting, is_wide, places, setting_colours
from hilum.report.sweep_page import write_sweep_page
from hilum.training.sweep import Sweep

Snapshot = Callable[[str], None]
RATES = [0.001, 0.01, 0.1]


def html_of(folder: Path, result: dict[str, Any]) -> str:
    return write_sweep_page(folder, Sweep.from_json(result)).read_text(encoding="utf-8")


def setting(value: float | None, *, ended: bool = True) -> Setting:
    return Setting(f"lr={value}", value, ({"val_loss": 1.0},) if ended else (), {}, "" if ended else "diverged", False)


def test_the_choice_and_the_numbers_are_those_of_the_json(tmp_path: Path, snapshot: Snapshot) -> None:
    result = sweep(tmp_path, {"training.lr": RATES, "training.seed": [0, 1]}, positive_label="infected/covid")
    html = html_of(tmp_path, result)
    page = Page(html)
    mean = result["groups"][0]["mean"]
    assert result["choice"] == {"training.lr": 0.1}
    snapshot(page.lines)
    rows = table_after(html, "<h2>Settings")
    assert rows[1][1:] == ["2", f"{mean['val_loss']:.4f}", "50.0 %", "4", "5"]
    assert [row[0] for row in rows[1:]] == ["lr=0.1 chosen", "lr=0.01", "lr=0.001"]
    trials = table_after(html, "<h2>Trials")
    assert [row[0] for row in trials[1:]] == [trial["name"] for trial in result["trials"]]
    assert [row[4] for row in trials[1:]] == [f"{trial['best']['val_loss']:.4f}" for trial in result["trials"]]


def test_diverged_trials_are_named_with_their_message_and_without_their_old_place(
    tmp_path: Path, snapshot: Snapshot
) -> None:
    html = html_of(tmp_path, sweep(tmp_path, {"training.lr": [*RATES, 1e38]}, diverged=[3]))
    page = assert_self_contained(html)
    snapshot(page.lines)
    assert "/somewhere" not in html
    assert table_after(html, "<h2>Settings")[4][2:] == ["–", "–", "–"]  # unprotected: no column of misses


def test_links_are_relative_and_lead_to_the_trials(tmp_path: Path, snapshot: Snapshot) -> None:
    result = sweep(tmp_path, {"training.lr": RATES}, waiting=[2])
    page = assert_self_contained(html_of(tmp_path, result))
    links = [load for load in page.loads if not load.startswith("#")]
    assert links == ["trials/1-trial/", "trials/2-trial/"]
    assert all((tmp_path / link).is_dir() for link in links)
    snapshot(page.lines)


def test_nothing_finished_nothing_chosen(tmp_path: Path, snapshot: Snapshot) -> None:
    page = assert_self_contained(html_of(tmp_path, sweep(tmp_path, {"training.lr": RATES}, diverged=[0, 1, 2])))
    snapshot(page.lines)


def test_one_trial_is_enough(tmp_path: Path, snapshot: Snapshot) -> None:
    page = assert_self_contained(html_of(tmp_path, sweep(tmp_path, {"training.seed": [3]})))
    snapshot(page.lines)


def test_many_trials_do_not_explode(tmp_path: Path) -> None:
    swept = {"network.options.width": [8, 16, 24, 32, 40, 48, 56], "training.lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    html = html_of(tmp_path, sweep(tmp_path, swept, diverged=[5, 40]))
    page = assert_self_contained(html)
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(figures) == 2
    settings = [f"width={w}, lr={lr}" for w in swept["network.options.width"] for lr in swept["training.lr"]]
    assert all(f">{name}<" in figures[0] for name in settings)  # a row each
    assert sum(f">{name}<" in figures[1] for name in settings) == 5  # the legend names only some
    assert sum(name in page.text for name in settings) == 42
    assert len(html) < 1_000_000


def test_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    result = sweep(tmp_path, {"training.lr": RATES, "training.seed": [0, 1]}, diverged=[1])
    assert html_of(tmp_path, result) == html_of(tmp_path, result)
    assert "1 of 2 diverged" in Page(html_of(tmp_path, result)).text


def test_odd_values_are_escaped(tmp_path: Path) -> None:
    values: list[Any] = ["<b>x", "a & b", [1, 2], {"k": "</td>"}, None, True]
    html = html_of(tmp_path, sweep(tmp_path, {"network.options.kind": values}))
    page = assert_self_contained(html)
    assert "<b>x" not in html
    for text in ("kind=<b>x", "kind=a & b", "kind=[1, 2]", "kind={k=</td>}", "kind=null", "kind=true"):
        assert text in page.text


@pytest.mark.parametrize("damage", ["gone", "epoch,step\n1,many\n", "epoch\n"])
def test_damaged_history_costs_its_curve_only(tmp_path: Path, damage: str) -> None:
    result = sweep(tmp_path, {"training.lr": RATES})
    for trial in result["trials"]:
        history = tmp_path / "trials" / trial["name"] / "history.csv"
        history.unlink() if damage == "gone" else history.write_text(damage, encoding="utf-8")
    page = assert_self_contained(html_of(tmp_path, result))
    assert page.tags["svg"] == 1
    assert "Learning curves" not in page.text


@pytest.mark.parametrize(
    ("values", "wide"),
    [([0.001, 0.1], True), ([0.01, 0.1], False), ([0.0, 1.0], False), ([-1.0, 100.0], False), ([1.0, None], False)],
)
def test_logarithmic_only_where_it_helps(values: list[float | None], wide: bool) -> None:
    assert is_wide([setting(value) for value in values]) is wide


def test_diverged_value_far_off_stands_beside_the_others() -> None:
    at = places([setting(0.001), setting(0.1), setting(1e38, ended=False), setting(0.01, ended=False)])
    assert at["lr=0.001"] == pytest.approx(-3)
    assert at["lr=0.01"] == pytest.approx(-2)  # between finished ones it stands where it belongs
    assert -1 < at["lr=1e+38"] < 0


def test_colours_stay_apart() -> None:
    for count in (1, 7, 8, 40):
        assert len(set(setting_colours(count))) == count
