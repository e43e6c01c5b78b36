"""The whole loop with Orthanc, by the files of deploy/orthanc: its Lua rule to the node, the report back in it."""

import json
import urllib.request

from node_peers import SR, image, saved, store, until

TITLE = "126000"  # DCM: Imaging Measurement Report


def reported(orthanc):
    """By the SOP Instance UID of an image, the reports about it that Orthanc holds."""
    found = {}
    for instance in orthanc.instances("SR"):
        report = orthanc.file(instance["ID"])
        assert report.SOPClassUID == SR
        series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        found.setdefault(series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID, []).append(report)
    return found


def test_the_report_comes_back_into_the_study(orthanc, beside, tmp_path):
    images = [image(number) for number in range(3)]
    running = beside()
    assert store(saved(tmp_path / "in", images), orthanc.port, title="ORTHANC").returncode == 0
    until(lambda: len(orthanc.instances("SR")) == 3, 90)
    found = reported(orthanc)
    assert set(found) == {one.SOPInstanceUID for one in images}
    for one in images:
        (report,) = found[one.SOPInstanceUID]
        assert report.StudyInstanceUID == one.StudyInstanceUID
        assert report.PatientID == one.PatientID
        assert report.ConceptNameCodeSequence[0].CodeValue == TITLE
        assert report.VerificationFlag == "UNVERIFIED"
        # visible over DICOMweb, too
        request = urllib.request.Request(
            f"{orthanc.web}/studies/{one.StudyInstanceUID}/instances?Modality=SR",
            headers={"Accept": "application/dicom+json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            (shown,) = json.loads(answer.read())
        assert shown["00080018"]["Value"] == [report.SOPInstanceUID]
    # The report made each study stable again, so that Orthanc sent the images again: no further report comes.
    until(lambda: sum(line.get("outcome") == "duplicate" for line in running.events()) >= 3, 60)
    assert len(orthanc.instances("SR")) == 3
    said = "\n".join(running.lines())
    assert not any(secret in said for one in images for secret in (one.SOPInstanceUID, one.PatientID, "Secret"))


def test_what_came_while_orthanc_was_down_is_delivered_later(orthanc, beside, tmp_path):
    images = [image(number) for number in range(2)]
    running = beside(listen={"port": orthanc.node_port, "calling": ["SENDER"]})
    orthanc.stop()
    assert store(saved(tmp_path / "in", images), running.port).returncode == 0
    until(lambda: (now := running.status())["outages"] and now["jobs"]["answered"] == 2)
    assert "orthanc: cannot be reached" in running.command("status").stdout
    orthanc.start()
    until(lambda: len(orthanc.instances("SR")) == 2, 60)
    until(lambda: running.status()["jobs"]["sent"] == 2)
    assert not running.status()["outages"].get("orthanc")


def test_what_came_while_the_node_was_down_is_polled(orthanc, beside, tmp_path):
    images = [image(number) for number in range(3)]
    assert store(saved(tmp_path / "in", images), orthanc.port, title="ORTHANC").returncode == 0
    until(
        lambda: (
            len(orthanc.get("/jobs?expand")) == 3 and all(j["State"] == "Failure" for j in orthanc.get("/jobs?expand"))
        )
    )
    running = beside(source={"every": 1, "most": 2})
    until(lambda: len(orthanc.instances("SR")) == 3, 60)
    assert set(reported(orthanc)) == {one.SOPInstanceUID for one in images}
    assert {line["peer"] for line in running.events() if line["event"] == "received"} >= {"orthanc-web"}
