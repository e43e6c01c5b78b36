import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from reading_pages import Page, table_after

from hilum.errors import RunError
from hilum.report.run_page import write_report
from hilum.text import duration
from hilum.training.recipe import flatten

MakeRun = Callable[..., Path]
Snapshot = Callable[[str], None]
Refuses = Callable[..., AbstractContextManager[object]]


def opened(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_seed_matrix_gives_the_numbers_of_the_seed_report(make_run: MakeRun) -> None:
    html = write_report(make_run()).read_text(encoding="utf-8")
    rows = table_after(html, "<h2>Results")
    body = [row for row in rows if row and "Predicted" not in row]
    assert body[1][1:] == ["normal", "5", "3", "0", "8", "62.5 %"]
    assert body[2] == ["infected/covid", "0", "8", "1", "9", "88.9 %"]
    assert body[3] == ["infected/non-covid", "0", "4", "4", "8", "50.0 %"]
    assert body[4] == ["", "Predicted images", "5", "15", "5", "25", "–"]
    assert body[5] == ["", "Precision", "100.0 %", "53.3 %", "80.0 %", "–", "–"]
    assert body[6] == ["", "Accuracy", "68.0 % (17 of 25)"]


def test_text_says_what_the_seed_report_says(make_run: MakeRun, snapshot: Snapshot) -> None:
    """17 of 25 are 68.0 %; 1 of 9 is missed; the eight false cases are those of the matrix above."""
    snapshot(opened(make_run()).lines)


def test_each_decision_and_the_temperatures_are_told(make_run: MakeRun) -> None:
    run = make_run()
    file = run / "evaluation" / "test" / "metrics.json"
    metrics = json.loads(file.read_text())
    area = metrics["decisions"]["infected"]["infected/covid"]
    before = {"log_loss": 1.0, "brier": 0.5, "ece": {"value": 0.321, "ece_null_mean": 0.1}}
    file.write_text(json.dumps(metrics | {"calibration": {"temperatures": {"": 1.5}, "note": "", "before": before}}))
    text = opened(run).text
    assert f"covid against non-covid, among infected: AUROC {area['value']:.3f} (95 % CI {area['low']:.3f} to" in text
    assert re.search(r"\b1\.50\b.*\b32\.1 %", text)


def test_page_loads_nothing_and_is_well_formed(make_run: MakeRun) -> None:
    run = make_run()
    page = opened(run)
    assert page.open == []
    assert {load[:1] for load in page.loads if not load.startswith("data:image/png;base64,")} == {"#"}
    assert {load[1:] for load in page.loads if load.startswith("#")} <= set(page.ids)
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert not re.search(r"@import|url\((?!#)", (run / "report.html").read_text(encoding="utf-8"))
    assert page.tags["svg"] == 5
    assert page.tags["img"] == 25
    assert all(page.alternatives)


def test_counts_agree_with_the_split(make_run: MakeRun) -> None:
    run = make_run()
    html = write_report(run).read_text(encoding="utf-8")
    rows = table_after(html, "<h2>Data")
    assert rows[1:] == [
        ["train", "7", "6", "5", "18"],
        ["val", "1", "1", "1", "3"],
        ["test", "8", "9", "8", "25"],
        ["All splits", "16", "16", "14", "46"],
    ]
    bars = re.search(r'<svg[^>]*aria-label="Bar chart[^"]*"', html)
    assert bars is not None
    assert "train: normal 7, infected/covid 6, infected/non-covid 5; val: normal 1" in bars[0]
    assert "16 · 34.8 %" in html  # Fig. 1.2: 16 of 46
    assert "25 · 54.3 %" in html  # Fig. 1.3: 25 of 46


def test_patients_on_two_sides_are_reported(make_run: MakeRun, snapshot: Snapshot) -> None:
    run = make_run()
    before = opened(run)
    file = run / "split.csv"
    file.write_text(file.read_text(encoding="utf-8").replace(",x0,", ",t0-0,"), encoding="utf-8")
    snapshot(opened(run).said_beside(before))


def test_unknown_patients_make_intervals_optimistic(make_run: MakeRun, snapshot: Snapshot) -> None:
    known = opened(run := make_run())
    shutil.rmtree(run.parent)
    snapshot(opened(make_run(patients=False)).said_beside(known))


def test_names_from_outside_are_escaped(make_run: MakeRun) -> None:
    nasty = ("<b>x", 'a$b$ & "c"', "x' onload='y")
    notes = {"notes": ["<script>alert(1)</script>"], "unreadable": [{"path": "<i>.png", "message": "</ul>"}]}
    run = make_run(nasty, positive_label="<b>x", data=notes)
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert page.tags["script"] == 0
    assert "<script" not in html
    assert "<b>x" not in html
    assert "<i>.png" not in html
    for name in (*nasty, "<script>alert(1)</script>", "<i>.png", "</ul>"):
        assert re.sub(r"\s+", " ", name) in page.text


def test_run_without_evaluation_names_the_next_step(make_run: MakeRun) -> None:
    run = make_run(confusion=None)
    page = opened(run)
    assert f"hilum evaluate {run}" in page.text
    assert "results" not in page.ids
    assert {"data", "model", "training", "provenance"} <= set(page.ids)


def test_missing_images_become_placeholders(make_run: MakeRun) -> None:
    run = make_run()
    (run.parent / "data" / "test" / "0-0-0.png").unlink()
    (run.parent / "data" / "test" / "0-0-1.png").write_bytes(b"no picture")
    page = opened(run)
    assert page.tags["img"] == 23
    assert page.text.count("image not found") == 2


def test_many_labels_are_all_named(make_run: MakeRun) -> None:
    labels = [f"group/finding {k:02}" for k in range(20)]
    confusion = [[3 if i == j else int(i == (j + 1) % 20) for j in range(20)] for i in range(20)]
    page = opened(make_run(labels, confusion, positive_label=None))
    assert page.open == []
    assert all(page.text.count(label) >= 5 for label in labels)


def test_two_labels_are_enough(make_run: MakeRun, snapshot: Snapshot) -> None:
    """17 of 20 are 85.0 %, and 2 of 10 are missed."""
    snapshot(opened(make_run(("normal", "covid"), ((9, 1), (2, 8)), positive_label="covid")).lines)


def test_label_without_images_is_shown_as_undefined(make_run: MakeRun) -> None:
    page = opened(make_run(confusion=((5, 1, 0), (1, 8, 0), (0, 0, 0))))
    assert "undefined" in page.text


def test_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run()
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_evaluation_of_other_weights_is_flagged(make_run: MakeRun, snapshot: Snapshot) -> None:
    run = make_run()
    before = opened(run)
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    (run / "environment.json").write_text(json.dumps(environment | {"weights_sha256": "00"}), encoding="utf-8")
    snapshot(opened(run).said_beside(before))


@pytest.mark.parametrize("exists", [False, True])
def test_folder_that_is_no_run(tmp_path: Path, exists: bool, refuses: Refuses) -> None:
    folder = tmp_path / "nothing"
    if exists:
        folder.mkdir()
    with refuses(RunError, "no-run"):
        write_report(folder)


@pytest.mark.parametrize("damage", ["{", "[]", '{"labels": ["a"]}'])
def test_damaged_metrics_are_refused(make_run: MakeRun, damage: str, refuses: Refuses) -> None:
    run = make_run()
    (run / "evaluation" / "test" / "metrics.json").write_text(damage, encoding="utf-8")
    with refuses(RunError, "damaged-metrics"):
        write_report(run)


def test_metrics_of_the_version_before_are_called_that(make_run: MakeRun, refuses: Refuses) -> None:
    run = make_run()
    file = run / "evaluation" / "test" / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    del metrics["intervals"]
    file.write_text(json.dumps(metrics), encoding="utf-8")
    with refuses(RunError, "damaged-metrics"):
        write_report(run)


def test_layer_table_adds_up(make_run: MakeRun) -> None:
    rows = table_after(write_report(make_run()).read_text(encoding="utf-8"), "<h2>Model")
    assert rows[0] == ["Layer (type)", "Output shape", "Param #"]
    assert rows[1][0] == "Conv2d-1"
    total = next(int(row[1].replace(",", "")) for row in rows if row[0] == "Total params")
    assert total == sum(int(row[2].replace(",", "")) for row in rows[1:] if len(row) == 3)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (4.25, "4.2 s"), (272.0, "4 min 32 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_flatten_spells_keys_as_set_does() -> None:
    nested = {"name": "a", "training": {"lr": 0.01, "deep": {"x": True}}, "network": {"options": {}}}
    assert flatten(nested) == [
        ("name", '"a"'),
        ("training.lr", "0.01"),
        ("training.deep.x", "true"),
        ("network.options", "{}"),
    ]
