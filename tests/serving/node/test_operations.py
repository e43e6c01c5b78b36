"""What an operator sees: health, metrics, checks, the audit trail; and how the node bears load and a full disk."""

import resource
import subprocess
import time
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import pytest
from pynetdicom import AE

from node_peers import image, saved, store, store_any, tool, until
from sizes import sized

VERIFICATION = "1.2.840.10008.1.1"


def test_health_metrics_and_audit_trail(node, archive, tmp_path):
    trail = tmp_path / "audit.xml"
    running = node(archive, audit={"file": str(trail)})
    one = image(1)
    assert running.ask("/healthz")
    assert "ready" in running.ask("/readyz")
    assert store(saved(tmp_path / "in", [one]), running.port).returncode == 0
    assert store(saved(tmp_path / "in", [one]), running.port, calling="STRANGER").returncode != 0
    until(lambda: running.status()["jobs"]["sent"] == 1)
    lines = running.ask("/metrics").splitlines()
    assert 'hilum_node_events_total{event="image",outcome="new"} 1.0' in lines
    assert 'hilum_node_events_total{event="association",outcome="refused"} 1.0' in lines
    assert 'hilum_node_deliveries_total{destination="ARCHIVE",outcome="sent"} 1.0' in lines
    assert 'hilum_node_jobs{state="sent"} 1.0' in lines
    assert running.end() == 0
    messages = [ElementTree.fromstring(line) for line in trail.read_text().splitlines()]
    events = [message.find("EventIdentification/EventID").get("csd-code") for message in messages]
    assert events[0] == events[-1] == "110100"  # Application Activity: start and stop
    assert sorted(events[1:-1]) == ["110104", "110104", "110113"]  # received, sent, a stranger
    assert one.StudyInstanceUID not in trail.read_text()
    studies = [
        found.get("ParticipantObjectID")
        for found in ElementTree.fromstring(f"<a>{trail.read_text()}</a>").iter("ParticipantObjectIdentification")
    ]
    assert len(studies) == 2
    assert len(set(studies)) == 1


def test_check_asks_every_peer_and_writes_on_request(node, archive):
    down = {"name": "DOWN", "dicom": {"host": "127.0.0.1", "port": 9, "ae_title": "DOWN"}}
    running = node(archive, down)
    found = running.command("check")
    assert found.returncode == 1
    assert found.stdout.splitlines()[0] == "ARCHIVE: C-ECHO: ok"
    assert "DOWN: C-ECHO: no connection" in found.stdout
    assert not archive.objects
    written = running.command("check", "--write")
    assert "ARCHIVE: test object: ok" in written.stdout
    (test,) = archive.objects
    assert test.PatientID == "HILUM-CHECK"
    assert test.VerificationFlag == "UNVERIFIED"


def test_check_of_an_archive_with_dicomweb(orthanc, beside):
    running = beside()
    found = running.command("check")
    assert found.returncode == 0
    assert found.stdout.splitlines() == ["orthanc: C-ECHO: ok", "orthanc-web: QIDO-RS: ok"]


def test_a_full_disk_is_out_of_resources(node, archive, tmp_path):
    """RLIMIT_FSIZE stands for it: no file may have more than 400,000 bytes."""

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    running = node(archive, before_exec=small)
    large, fits = saved(tmp_path / "in", [image(1, size=1024), image(2, size=128)])
    assert store_any([large], running.port) == [0xA700]
    assert store_any([fits], running.port) == [0x0000]
    until(lambda: len(archive.reports()) == 1)
    assert running.status()["jobs"]["received"] == 0
    until(lambda: not list((running.folder / "state" / "incoming").iterdir()))  # nothing half written is left
    until(lambda: any(line["event"] == "no-room" for line in running.events()))


def test_too_little_free_space_is_said_before_it_is_used_up(node, archive, tmp_path):
    running = node(archive, limits={"free_mib": 10**9})
    assert store_any(saved(tmp_path / "in", [image(1)]), running.port) == [0xA700]
    with pytest.raises(OSError, match="503"):
        running.ask("/readyz")


def echoes(port, number):
    application = AE(ae_title="SENDER")
    application.add_requested_context(VERIFICATION)
    for _ in range(number):
        association = application.associate("127.0.0.1", port, ae_title="HILUM")
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()


def test_echoes_leave_nothing_behind(running_node):
    echoes(running_node.port, 20)
    threads = len(list_threads(running_node))
    echoes(running_node.port, 50)
    until(lambda: len(list_threads(running_node)) <= threads + 2)
    tried = subprocess.run(
        [tool("echoscu"), "-aet", "SENDER", "-aec", "HILUM", "127.0.0.1", str(running_node.port)], capture_output=True
    )
    assert tried.returncode == 0


def list_threads(running):
    return list(Path(f"/proc/{running.process.pid}/task").iterdir())


@pytest.mark.slow
def test_ten_thousand_echoes_do_not_grow(running_node):
    """Each in an association of its own, as health checks are (pynetdicom#669)."""
    echoes(running_node.port, sized(200, 1000))
    before, files = running_node.memory(), open_files(running_node)
    echoes(running_node.port, sized(1000, 10_000))
    assert running_node.memory() - before < 10  # MiB
    assert open_files(running_node) <= files + 5


def open_files(running):
    return len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))


@pytest.mark.slow
def test_five_hundred_images_in_a_burst(node, archive, tmp_path):
    """Over four associations at once; all are reported, and memory stays bounded."""
    count = sized(160, 500)
    images = [image(number, size=256) for number in range(count)]
    files = saved(tmp_path / "in", images)
    running = node(archive)
    results = []

    def send(part):
        results.append(store(part, running.port).returncode)

    begin = time.monotonic()
    threads = [Thread(target=send, args=(files[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 4
    until(lambda: running.status()["jobs"]["sent"] == count, 600)
    assert set(archive.reports()) == {one.SOPInstanceUID for one in images}
    assert {len(reports) for reports in archive.reports().values()} == {1}
    assert running.memory() < 1500
    assert time.monotonic() - begin < 600


def test_more_associations_than_allowed_are_refused(node, archive):
    running = node(archive, listen={"associations": 2})
    application = AE(ae_title="SENDER")
    application.add_requested_context(VERIFICATION)
    held = [application.associate("127.0.0.1", running.port, ae_title="HILUM") for _ in range(3)]
    assert [one.is_established for one in held] == [True, True, False]
    held[0].release()
    until(lambda: application.associate("127.0.0.1", running.port, ae_title="HILUM").is_established)
    for one in held:
        if one.is_established:
            one.release()
