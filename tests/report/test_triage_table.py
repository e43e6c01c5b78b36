"""The table of what becomes of patients, on the page and by itself."""

import json

from made_results import LABELS, predictions
from reading_pages import Page

from hilum.evaluation.certificate_check import holding
from hilum.report.page import write_report
from hilum.report.performance_page import triage_table

CERTIFICATE = {
    "group": LABELS[1],
    "members": [LABELS[1]],
    "threshold": 0.2,
    "upper_threshold": 0.6,
    "miss_rate": 0.05,
    "confidence": 0.95,
    "unit": "patients",
    "upper": {"kind": "specificity", "bound": 0.9, "labels": [LABELS[0]], "threshold": 0.6},
    "reference": {"group": [0.5], "others": [0.1]},
    "seal": "",
}


def test_every_patient_is_in_one_cell_of_its_row():
    given = predictions(n=120)
    held = holding(CERTIFICATE, given, ["far" if i % 9 == 0 else "" for i in range(120)])
    table = triage_table({"operating_point": held})
    assert table["heads"] == ["Flagged", "To be read", "Abstained on", "Cleared"]
    assert [label for label, _, _ in table["rows"]] == [LABELS[1], LABELS[0], LABELS[2]]
    for _, patients, cells in table["rows"]:
        assert sum(count for count, _ in cells) == patients == 20
    assert triage_table({"operating_point": None}) is triage_table({"operating_point": {"missed": 3}}) is None
    one = holding({**CERTIFICATE, "upper_threshold": None, "upper": None}, given)
    assert triage_table({"operating_point": one})["heads"] == ["Flagged", "Cleared"]


def test_the_page_shows_it(make_run, snapshot):
    run = make_run()
    file = run / "evaluation" / "test" / "metrics.json"
    before = Page(write_report(run).read_text(encoding="utf-8"))
    held = holding(CERTIFICATE, predictions())
    file.write_text(json.dumps(json.loads(file.read_text()) | {"operating_point": held, "certificate": CERTIFICATE}))
    snapshot(Page(write_report(run).read_text(encoding="utf-8")).said_beside(before))
