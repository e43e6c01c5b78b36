"""The checklist is computed: each state follows from what the run's files hold, and turns when they are changed."""

import json

import numpy as np
import pytest
from made_results import LABELS, predictions
from matplotlib.figure import Figure
from reading_pages import Page

from hilum.evaluation.decision_curve import decision_curve
from hilum.evaluation.differences import drop
from hilum.evaluation.performance import details
from hilum.evaluation.triage import risk_coverage
from hilum.report.checklist import ITEMS
from hilum.report.run_page import page_content, write_report
from hilum.stats.intervals import exact_interval
from hilum.stats.prior_shift import Prior
from hilum.stats.records import Record
from hilum.stats.verdicts import at_most
from hilum.training.run import open_run

FILE = ("evaluation", "test", "metrics.json")
EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="9pt" height="9pt"/>'


def states(run):
    """The checklist's items by number, without the time that the page's figures take."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", lambda self, buffer, **_: buffer.write(EMPTY))
        return {item.number: item for item in page_content(open_run(run)).checklist}


def change(run, **values):
    file = run.joinpath(*FILE)
    file.write_text(json.dumps(json.loads(file.read_text()) | values, default=Record.as_json))


def gate(verdict):
    number = {"value": 0.9, "low": 0.8, "high": 0.95}
    lead = {"shown": (0.1, 0.05, 0.2), "not shown": (0.0, -0.1, 0.1), "refuted": (-0.1, -0.2, -0.05)}[verdict]
    probe = {"name": "frame", "kind": "pixels", "learner": "extra trees", "auroc": number, "verdict": verdict}
    probe["difference"] = dict(zip(("value", "low", "high"), lead, strict=True))
    labels = {LABELS[1]: {"verdict": verdict, "model": number, "baselines": [probe]}}
    return {"labels": labels, "verdict": verdict, "not_scored": [LABELS[0]], "note": ""}


def test_there_are_the_25_items_of_the_plan_and_nothing_is_claimed_that_is_not_there(make_run):
    found = states(make_run())
    assert len(found) == len(ITEMS) == 25
    assert found[22].state == "FAIL"
    assert found[22].evidence == "external validation: NONE"
    for number in (2, 3, 4, 5, 8, 9, 10, 14, 20, 21, 23, 25):
        assert found[number].state == "UNKNOWN", found[number]
    for number in (1, 6, 12):
        assert found[number].state == "PASS", found[number]
    for number in (15, 16, 17, 18, 24):  # figures that no bound judges: they do not say that the classifier is good
        assert found[number].state == "REPORTED", found[number]


def test_patients_decide_about_the_split_and_the_intervals(make_run):
    known = states(make_run(patients=True))
    assert known[7].state in ("PASS", "FAIL")


def test_unknown_patients_make_intervals_unknown(make_run):
    unknown = states(make_run(patients=False))
    assert unknown[7].state == "UNKNOWN"
    assert unknown[16].state == "UNKNOWN"


@pytest.mark.parametrize("verdict", ["shown", "not shown", "refuted"])
def test_a_model_that_does_not_beat_a_shortcut_says_so_at_the_top(make_run, verdict):
    run = make_run()
    change(run, shortcuts=gate(verdict))
    assert states(run)[10].state == ("PASS" if verdict == "shown" else "FAIL")
    html = write_report(run).read_text(encoding="utf-8")
    top = html[: html.index('id="data"')]
    assert ("A SHORTCUT:" in top) == (verdict != "shown")
    card = (run / "model_card.md").read_text(encoding="utf-8")
    for shown in (html, card):
        assert shown.count("frame") >= 1
        assert verdict in shown


def reliance(low):
    number, nothing = {"value": 0.3, "low": low, "high": 0.5}, dict.fromkeys(("value", "low", "high"))
    frame = {"name": "frame", "kind": "swap", "log_odds": number, "share": number, "p_value": 0.001}
    lungs = {"name": "lungs blacked out", "kind": "blackout", "log_odds": number, "share": nothing, "p_value": 0.2}
    part = {"n_patients": 48, "margin": number, "found": [frame | {"p_corrected": 0.004}, lungs]}
    return {"labels": {LABELS[1]: part}, "constant": ["aspect"], "not_scored": [LABELS[0]], "note": ""}


@pytest.mark.parametrize("low", [0.1, -0.1])
def test_reliance_on_a_shortcut_fails_and_is_drawn(make_run, low):
    run = make_run()
    change(run, shortcuts=gate("shown"), reliance=reliance(low))
    item = states(run)[10]
    assert item.state == ("FAIL" if low > 0 else "PASS")
    html = write_report(run).read_text(encoding="utf-8")
    assert ("RELIES ON A SHORTCUT" in html[: html.index('id="data"')]) == (low > 0)
    assert 'id="reliance-test' in html
    change(run, reliance={"labels": {}, "constant": [], "not_scored": list(LABELS), "note": "fewer than 12 patients"})
    assert states(run)[10].state == "PASS"
    assert "fewer than 12 patients" in Page(write_report(run).read_text(encoding="utf-8")).text


def test_a_comparison_with_shortcuts_of_an_earlier_version_asks_for_another_evaluation(make_run, snapshot):
    run = make_run()
    area = {"value": 0.9, "low": 0.8, "high": 0.95}
    probe = {"name": "frame", "kind": "pixels", "auroc": area, "difference": area}
    best = {"label": LABELS[1], "model": area, **probe}
    labels = {LABELS[1]: {"model": area, "probes": [probe]}}
    old = {"labels": labels, "judged_by": [LABELS[1]], "best": best, "beaten": True, "note": ""}
    change(run, shortcuts=old)
    write_report(run)
    item = states(run)[10]
    assert item.state == "UNKNOWN"
    snapshot(item.evidence)


def test_a_table_that_says_everything_passes_and_an_impossible_label_fails(make_run):
    run = make_run()
    full = {"column": "x", "filled": 1.0, "by_label": {label: {"A": 3} for label in LABELS}}
    names = ("source", "date", "site", "licence", "age", "sex", "view", "label_source")
    table = {"n_images": 9, "columns": dict.fromkeys(names, full), "confounded_labels": [], "impossible": []}
    change(run, table=table)
    found = states(run)
    assert [found[number].state for number in (2, 3, 4, 5, 9)] == ["PASS"] * 5
    assert found[3].evidence.count("normal (A 3)") == 3
    for undated in ({"undated": 2}, {"columns": table["columns"] | {"date": full | {"filled": 0.1}}}):
        change(run, table=table | undated)
        assert states(run)[5].state == "UNKNOWN"
    many = table["columns"] | {"age": full | {"by_label": None}}
    change(run, table=table | {"columns": many})
    assert states(run)[3].state == "UNKNOWN"
    change(run, table=table | {"impossible": ["3 images of 'infected/covid' are dated before 2019"]})
    assert states(run)[5].state == "FAIL"


def test_what_the_training_found_out_counts_without_an_audit(make_run):
    run = make_run()
    message = "'infected/covid' cannot be COVID-19"
    finding = {"check": "provenance", "severity": "error", "message": message, "remedy": ""}
    checked = {"images": 60, "duplicates": ["pixels", "near"], "leakage": {"patients": 0, "pictures": 0}}
    change(run, audit={"audited": False, "written": "", "findings": [finding], "checked": checked})
    assert (states(run)[5].state, states(run)[8].state) == ("FAIL", "PASS")
    assert message in states(run)[5].evidence
    change(run, audit={"findings": [], "checked": checked | {"leakage": {"patients": 0, "pictures": 2}}})
    assert (states(run)[5].state, states(run)[8].state) == ("UNKNOWN", "FAIL")


def slope(verdict):
    number = {"value": 1.0, "low": 0.9, "high": 1.1, "direction": "", "verdict": verdict, "patients_to_decide": 700}
    return {"slope": number, "in_the_large": number, "verdict": verdict}


@pytest.mark.parametrize(
    ("verdict", "error", "state"),
    [
        ("shown", 0.03, "PASS"),
        ("shown", 0.09, "UNKNOWN"),
        ("not shown", 0.03, "UNKNOWN"),
        ("not shown", 0.09, "FAIL"),
        ("refuted", 0.03, "FAIL"),
    ],
)
def test_calibration_passes_only_where_it_is_shown(make_run, verdict, error, state):
    run = make_run()
    ece = {"value": error, "ece_null_mean": 0.03, "ece_null_q95": 0.05}
    change(run, ece_class_wise=ece, calibration_by_label={LABELS[0]: slope("shown"), LABELS[1]: slope(verdict)})
    assert states(run)[19].state == state


def test_an_evaluation_of_an_older_version_passes_nothing_by_it(make_run):
    run = make_run()
    file = run.joinpath(*FILE)
    metrics = json.loads(file.read_text())
    for key in ("ece_class_wise", "ece_top_label", "calibration_by_label", "detectable"):
        metrics.pop(key, None)
    file.write_text(json.dumps(metrics))
    found = states(run)
    assert found[19].state == found[14].state == "UNKNOWN"
    write_report(run)


@pytest.mark.parametrize(
    ("low", "high", "state"), [(-0.08, 0.04, "PASS"), (-0.3, 0.1, "UNKNOWN"), (-0.4, -0.1, "FAIL")]
)
def test_subgroups_pass_only_where_each_is_shown_to_be_found_as_often(make_run, low, high, state):
    run = make_run()
    value = (low + high) / 2
    verdict = {"PASS": "shown", "UNKNOWN": "not shown", "FAIL": "refuted"}[state]
    rest = {"value": value, "low": low, "high": high, "p": 0.2, "p_holm": 0.4, "verdict": verdict}
    group = {"n_images": 5, "n_patients": 3, "n_positive": 1, "accuracy": rest}
    shown = group | {"against_rest": rest | {"patients_to_decide": 90}}
    change(run, subgroups={"view": {"AP": shown, "PA": group | {"against_rest": None}}})
    assert states(run)[21].state == state


@pytest.mark.parametrize(("threshold", "state"), [(0.001, "FAIL"), (0.5, "REPORTED")])
def test_an_operating_point_that_is_worse_than_nothing_fails_and_stands_at_the_top(make_run, threshold, state):
    run = make_run()
    some = predictions(n=240, right=1.0)
    flagged = some.probabilities[:, 1] >= threshold
    prior = Prior(np.full(3, 1 / 3), np.zeros(3), "made")
    change(run, decision_curve=decision_curve(some, [LABELS[1]], prior, flagged=flagged))
    assert states(run)[18].state == state
    html = write_report(run).read_text(encoding="utf-8")
    assert ("WORSE THAN FLAGGING NOBODY" in html[: html.index('id="data"')]) == (state == "FAIL")
    assert 'id="decision-curve-test' in html


def held(missed, p):
    limits = exact_interval(missed / 100, 100)
    share = {"value": missed / 100, **limits, "bound": 0.05, "verdict": at_most(limits["low"], limits["high"], 0.05)}
    return {
        "group": LABELS[1],
        "threshold": 0.1,
        "patients": 100,
        "missed": missed,
        "cleared": missed,
        "outcomes": {"flag": 100 - missed, "read": 0, "abstain": 0, "clear": missed},
        "resampling_unit": "patients",
        **share,
        "patients_to_decide": None,
        "below": {"count": missed, "total": 100, **share},
        "sensitivity": dict.fromkeys(
            ("recall_abstentions_negative", "recall_abstentions_positive", "selective_recall"), share
        ),
        "others": {},
        "flagged": {},
        "exchangeability": {"p_group": p, "p_others": 1.0, "p_value": p},
        "seal": "",
    }


@pytest.mark.parametrize(
    ("missed", "p", "state"), [(0, 0.5, "PASS"), (0, 0.001, "FAIL"), (3, 0.5, "UNKNOWN"), (15, 0.5, "FAIL")]
)
def test_a_certificate_passes_only_where_it_is_shown_to_hold_and_nothing_has_shifted(make_run, missed, p, state):
    run = make_run()
    certificate = {
        "confidence": 0.95,
        "false_negative_rate": 0.05,
        "resampling_unit": "patients",
        "group": LABELS[1],
        "members": [LABELS[1]],
        "threshold": 0.1,
        "n_patients": 100,
        "false_negatives": 0,
        "model": {},
        "data": {"name": "x", "split": "calibration", "own": True, "digest": ""},
    }
    change(run, operating_point=held(missed, p), certificate=certificate)
    assert states(run)[20].state == state


def test_other_data_count_as_external_validation_and_a_drop_fails(make_run, snapshot):
    run = make_run()
    before = Page(write_report(run).read_text(encoding="utf-8"))
    inside, outside = predictions(right=0.95, n=240), predictions(right=0.4, n=240, seed=1)
    folder = run / "evaluation" / "clinic-1234"
    folder.mkdir()
    outside.write(folder / "predictions.csv")
    metrics = json.loads(run.joinpath(*FILE).read_text())
    metrics |= {"name": folder.name, "split": "all", "table": None, "performance_drop": drop(inside, outside).as_json()}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    item = states(run)[22]
    assert item.state == "FAIL"
    assert "clinic-1234" in item.evidence
    snapshot(Page(write_report(run).read_text(encoding="utf-8")).said_beside(before))


def test_everything_that_is_drawn_appears_and_the_card_says_the_same(make_run, snapshot):
    run = make_run()
    some = predictions(n=120)
    ood_scores = type("J", (), {"p_value": np.linspace(0, 1, 120), "features": np.linspace(1, 0, 120)})()
    number = {"value": 0.1, "low": 0.05, "high": 0.2}
    abstained = {
        "level": 0.05,
        "abstained": number,
        "reasons": {"far": number, "near": number},
        "recall": dict.fromkeys(
            ("recall_abstentions_negative", "recall_abstentions_positive", "selective_recall"), number
        ),
        "risk_coverage": risk_coverage(some, ood_scores),
    }
    one = dict.fromkeys(("accuracy", "recall", "false_alarms", "auroc"), number)
    group = {"n_images": 5, "n_patients": 3, "n_positive": 1, **one, "against_rest": None}
    change(run, **vars(details(some)), shortcuts=gate("shown"), abstention=abstained, subgroups={"view": {"AP": group}})
    html = write_report(run).read_text(encoding="utf-8")
    for name in ("curves-test", "reliability-test", "risk-test"):
        assert f'id="{name}' in html
    text = Page(html).lines
    snapshot(text)
    card = (run / "model_card.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: hilum\n")
    for item in page_content(open_run(run)).checklist:
        assert f"| {item.number} | {item.name} |" in card
    yaml = pytest.importorskip("yaml")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["id2label"] == {0: "normal", 1: "covid", 2: "non-covid"}
    assert header["model-index"][0]["results"][0]["metrics"][0]["type"] == "accuracy"
