"""The table of what becomes of patients, on the page and by itself."""

import json

from made_results import LABELS, predictions
from reading_pages import Page

from hilum.evaluation.certificate_check import measure_certificate
from hilum.evaluation.performance import measure
from hilum.report.evaluation_sections import triage_table
from hilum.report.run_page import write_report
from made_certificates import certificate

CERTIFICATE = certificate(
    group=LABELS[1],
    members=[LABELS[1]],
    upper_threshold=0.6,
    upper={"kind": "specificity", "bound": 0.9, "labels": [LABELS[0]], "threshold": 0.6},
)


def table_of(held):
    metrics = measure(predictions(), positive_label=LABELS[1])
    return triage_table(metrics.model_copy(update={"operating_point": held}))


def test_every_patient_is_in_one_cell_of_its_row():
    given = predictions(n=120)
    held = measure_certificate(CERTIFICATE, given, ["far" if i % 9 == 0 else "" for i in range(120)])
    table = table_of(held)
    assert table.heads == ["Flagged", "To be read", "Abstained on", "Cleared"]
    assert [label for label, _, _ in table.rows] == [LABELS[1], LABELS[0], LABELS[2]]
    for _, patients, cells in table.rows:
        assert sum(count for count, _ in cells) == patients == 20
    assert table_of(None) is None
    one = measure_certificate(CERTIFICATE.model_copy(update={"upper_threshold": None, "upper": None}), given)
    assert table_of(one).heads == ["Flagged", "Cleared"]


def test_the_page_shows_it(make_run, snapshot):
    run = make_run()
    file = run / "evaluation" / "test" / "metrics.json"
    before = Page(write_report(run).read_text(encoding="utf-8"))
    held = measure_certificate(CERTIFICATE, predictions())
    more = {"operating_point": held.as_json(), "certificate": CERTIFICATE.as_json()}
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    snapshot(Page(write_report(run).read_text(encoding="utf-8")).said_beside(before))
