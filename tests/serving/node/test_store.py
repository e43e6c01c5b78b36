"""Images come by C-STORE, reports go by C-STORE: the queue between them, and what is refused."""

import pydicom
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE

from dicom_objects import LOSSLESS, data_file, transcoded
from hilum.serving.predictor import Predictor
from node_peers import SR, Archive, image, saved, store, store_any, until


def test_every_image_is_reported_once(node, archive, tmp_path):
    images = [image(number) for number in range(4)]
    running = node(archive)
    assert store(saved(tmp_path / "in", images), running.port).returncode == 0
    until(lambda: len(archive.reports()) == 4)
    assert {one.SOPInstanceUID for one in images} == set(archive.reports())
    assert all(len(reports) == 1 for reports in archive.reports().values())
    until(lambda: running.status()["jobs"]["sent"] == 4)
    assert running.end() == 0


def test_a_duplicate_is_known(node, archive, tmp_path):
    running = node(archive)
    files = saved(tmp_path / "in", [image(1)])
    changed = saved(tmp_path / "other", [image(1, PatientName="Another^Name")])
    for _ in range(2):
        assert store(files, running.port).returncode == 0
    assert store(changed, running.port).returncode == 0  # accepted, and the first one stays
    until(lambda: archive.reports())
    until(
        lambda: (
            [line["outcome"] for line in running.events() if line["event"] == "received"]
            == ["new", "duplicate", "changed"]
        )
    )
    until(lambda: running.status()["jobs"]["sent"] == 1)
    assert running.end() == 0
    assert [len(reports) for reports in archive.reports().values()] == [1]


def test_a_leg_is_accepted_and_recorded_as_refused(node, archive, tmp_path):
    """pydicom-data's RG3 is a lower leg; the archive that sent it has no fault to hear of."""
    running = node(archive)
    files = [data_file("RG3_UNCI.dcm"), *saved(tmp_path / "in", [image(1)])]
    assert store(files, running.port).returncode == 0
    until(lambda: archive.reports())
    ended = {"sent": 1, "refused": 1}
    found = until(lambda: (now := running.status()) and now["jobs"].items() >= ended.items() and now)
    (reason,) = found["reasons"]
    assert reason[0] == "refused"
    assert "another body part" in reason[1]
    assert len(archive.objects) == 1
    until(lambda: not list((running.folder / "state" / "incoming").glob("*.dcm")))  # what is done with is deleted


def test_refusals_are_reported_on_request(node, archive, tmp_path):
    rule = {"name": "all", "destinations": ["ARCHIVE"], "refusals": "report", "heatmap": True}
    running = node(archive, rule=[rule])
    leg = data_file("RG3_UNCI.dcm")
    assert store([leg, *saved(tmp_path / "in", [image(1)])], running.port).returncode == 0
    until(lambda: len(archive.objects) == 3)  # two reports, and the heatmap of the chest
    assert pydicom.dcmread(leg, stop_before_pixels=True).SOPInstanceUID in archive.reports()
    assert sorted(one.Modality for one in archive.objects)[:2] == ["OT", "SR"]


def test_only_known_titles_may_call(node, archive, tmp_path):
    running = node(archive)
    files = saved(tmp_path / "in", [image(1)])
    for options in ({"calling": "STRANGER"}, {"title": "OTHER"}):
        refused = store(files, running.port, **options)
        assert refused.returncode != 0
        assert "Rejected" in refused.stderr + refused.stdout
    assert running.status()["jobs"]["received"] == 0
    until(lambda: sum(line["event"] == "association-refused" for line in running.events()) == 2)
    assert "STRANGER" not in "\n".join(running.lines())


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2", SR])
def test_other_kinds_of_objects_are_not_offered(running_node, tmp_path, kind):
    """Digital X-Ray for processing, CT, and reports: the presentation context is refused."""
    files = saved(tmp_path, [image(1, SOPClassUID=kind)])
    assert store(files, running_node.port).returncode != 0
    assert running_node.status()["jobs"]["received"] == 0


SYNTAXES = [*LOSSLESS.values(), "JPEGLSNearLossless", "JPEG2000", "JPEGBaselineProcess1"]


def test_every_transfer_syntax_that_is_decoded_is_taken(node, archive, tmp_path):
    """One image in each, with identifiers of its own; where the syntax is lossless, all get the same answer."""
    running = node(archive)
    sent = {}
    for number, syntax in enumerate(SYNTAXES):
        one = image(7, bits=8 if "Baseline" in syntax else 12, SOPInstanceUID=generate_uid(entropy_srcs=[syntax]))
        (plain,) = saved(tmp_path / str(number), [one])
        sent[one.SOPInstanceUID] = syntax
        assert store_any([transcoded(plain, syntax, tmp_path)], running.port) == [0x0000]
    until(lambda: len(archive.reports()) == len(SYNTAXES), 120)
    assert running.status()["jobs"]["refused"] == 0
    answers = {}
    for report in archive.objects:
        series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        answers[sent[series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]] = probabilities(report)
    lossless = [answers[syntax] for syntax in LOSSLESS.values()]
    assert len(lossless[0]) == 3
    assert all(answer == pytest.approx(lossless[0], abs=1e-5) for answer in lossless)


def test_deflated_and_extended_are_not_offered(running_node, tmp_path):
    one = image(1)
    for syntax in ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.51"):
        application = AE(ae_title="SENDER")
        application.add_requested_context(one.SOPClassUID, syntax)
        association = application.associate("127.0.0.1", running_node.port, ae_title="HILUM")
        assert not association.accepted_contexts
        association.abort()


def probabilities(report):
    """The numbers of a report, by the code of what they measure."""
    found = {}

    def walk(item):
        for child in item.get("ContentSequence", ()):
            if child.ValueType == "NUM":
                value = child.MeasuredValueSequence[0]
                found[child.ConceptNameCodeSequence[0].CodeMeaning] = float(value.NumericValue) / 100
            walk(child)

    walk(report)
    return found


@pytest.mark.ci
def test_flagged_images_are_sent_first_and_with_high_priority(node, tmp_path):
    asked = Predictor().predict_many(saved(tmp_path / "asked", [image(number) for number in range(30)]))
    of_kind = {found.decision: number for number, found in enumerate(asked)}  # the model that comes with hilum changes
    numbers = [*range(8), of_kind["flag"]]
    archive = Archive()
    archive.stop()
    running = node(archive)
    assert store(saved(tmp_path / "in", [image(number) for number in numbers]), running.port).returncode == 0
    until(lambda: running.status()["jobs"]["answered"] == 9)
    archive.start()
    until(lambda: len(archive.objects) == 9)
    archive.stop()
    flagged = sum(line.get("outcome") == "flag" for line in running.events() if line["event"] == "classified")
    assert 0 < flagged < 9
    assert archive.priorities == [1] * flagged + [0] * (9 - flagged)
