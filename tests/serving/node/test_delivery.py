"""What a destination answers, and what becomes of results that it does not take."""

import time
from threading import Event, Thread

import pytest

from hilum.serving.node.configuration import Dimse
from hilum.serving.node.dimse_channel import DimseChannel
from hilum.serving.node.sender import Backoff
from hilum.serving.node.statuses import Verdict, outcome_of, said, worst
from node_peers import SC, image, saved, store, to, until

# PS3.4 table B.2-1 and PS3.7 annex C: every failure and warning of C-STORE.
STORED = [0x0000, 0x0111, 0xB000, 0xB006, 0xB007]
AGAIN = [0x0110, 0x0210, 0x0213, 0xA700, 0xA701, 0xA7FF]
DEAD = [0x0117, 0x0122, 0x0124, 0x0211, 0x0212, 0xA770, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF]


def test_every_status_has_a_verdict():
    by_verdict = {verdict: set() for verdict in Verdict}
    for status in range(0x10000):
        by_verdict[outcome_of(status).verdict].add(status)
    assert set(STORED) <= by_verdict[Verdict.SENT]
    assert set(AGAIN) <= by_verdict[Verdict.AGAIN]
    assert set(DEAD) <= by_verdict[Verdict.DEAD]
    assert 0x1234 in by_verdict[Verdict.AGAIN]  # nothing is given up because of a number that nobody knows
    assert all("patient" not in said(status) for status in range(0x10000))


def test_results_of_several_objects_are_as_good_as_the_worst():
    sent, again, dead = outcome_of(0), outcome_of(0xA700), outcome_of(0xA900)
    assert worst([sent, sent]).verdict is Verdict.SENT
    assert worst([sent, again]) == again
    assert worst([dead, again, sent]) == dead


def test_waits_double_up_to_a_limit_and_know_no_wall_clock():
    now = [0.0]
    waits = Backoff(1.0, 8.0, lambda: now[0])
    for failures, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (50, 8), (5000, 8)):
        waits.failed("x", failures)
        assert not waits.is_due("x", failures)
        now[0] += longest / 2 - 0.01
        assert not waits.is_due("x", failures)
        now[0] += longest / 2 + 0.01
        assert waits.is_due("x", failures)
    waits.failed("x", 1)
    assert waits.is_due("x", 0)  # as after `hilum node retry`, which resets the number


def test_each_failure_status_is_tried_again_or_given_up(node, archive, tmp_path):
    statuses = [*AGAIN, *DEAD, 0x0000]
    images = [image(number, size=64) for number in range(len(statuses))]
    answers = {one.PatientID: status for one, status in zip(images, statuses, strict=True)}
    for number, one in enumerate(images):
        one.PatientID = f"P{number}"
    answers = {f"P{number}": status for number, status in enumerate(statuses)}
    archive.status = lambda dataset: answers[dataset.PatientID]
    running = node(archive, limits={"attempts": 3})
    assert store(saved(tmp_path / "in", images), running.port).returncode == 0
    ended = {"dead": len(statuses) - 1, "sent": 1}
    found = until(lambda: (now := running.status()) and now["jobs"].items() >= ended.items() and now)
    reasons = {why for _, why, _ in found["reasons"]}
    assert reasons == {said(status) for status in statuses if status}
    attempts = [line["event"] for line in running.events() if line["event"] in ("failed", "dead")]
    assert attempts.count("failed") == 2 * len(AGAIN)  # what may pass was tried three times, the rest once
    assert not any(one.SOPInstanceUID in str(found) for one in images)
    # A person has mended the archive, and asks for it.
    archive.status = lambda dataset: 0x0000
    said_by = running.command("retry")
    assert said_by.returncode == 0
    assert said_by.stdout.startswith(str(len(statuses) - 1))
    until(lambda: running.status()["jobs"]["sent"] == len(statuses))
    assert set(archive.reports()) == {one.SOPInstanceUID for one in images}


def test_one_destination_that_is_down_holds_up_no_other(node, archive, tmp_path):
    down = {"name": "DOWN", "dicom": {"host": "127.0.0.1", "port": 9, "ae_title": "DOWN"}}
    running = node(archive, down)
    assert store(saved(tmp_path / "in", [image(number) for number in range(3)]), running.port).returncode == 0
    until(lambda: len(archive.reports()) == 3)
    shown = {"ARCHIVE": {"sent": 3}, "DOWN": {"waiting": 3}}
    found = until(lambda: (now := running.status()) and now["outages"] and now["deliveries"] == shown and now)
    assert found["jobs"]["answered"] == 3
    assert (
        len(list((running.folder / "state" / "incoming").glob("*.dcm"))) == 3
    )  # nothing is deleted before all have it


def test_an_archive_that_breaks_off_gets_it_again(node, archive, tmp_path):
    """The association is aborted during the first two C-STOREs."""
    breaks = [2]

    def status(dataset):
        if breaks[0]:
            breaks[0] -= 1
            archive._server.active_associations[0].abort()
        return 0x0000

    archive.status = status
    running = node(archive)
    assert store(saved(tmp_path / "in", [image(1)]), running.port).returncode == 0
    until(lambda: running.status()["jobs"]["sent"] == 1)
    assert len({uid for reports in archive.reports().values() for uid in reports}) == 1


def test_an_answer_goes_to_who_waits_for_it(archive, tmp_path):
    """Not to a thread that looks for requests, as pynetdicom's does for a moment after it was told to stop."""
    images = [image(number, size=32) for number in range(20)]
    for one in images:
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = SC
    files = saved(tmp_path, images)
    channel = DimseChannel(Dimse(host="127.0.0.1", port=archive.port, ae_title="ARCHIVE"), "HILUM", patience=10)
    ended = Event()

    def look():
        while not ended.is_set():
            association.dimse.get_msg(block=False)
            time.sleep(0)

    thread = Thread(target=look)
    try:
        assert channel.send(files[:1], urgent=False).verdict is Verdict.SENT
        association = channel._association
        thread.start()
        verdicts = [channel.send([file], urgent=False).verdict for file in files[1:]]
    finally:
        ended.set()
        channel.close()
        if thread.is_alive():
            thread.join()
    assert verdicts == [Verdict.SENT] * len(verdicts)


@pytest.mark.parametrize("enhanced", [False, True])
def test_an_archive_that_takes_only_enhanced_reports(node, tmp_path, enhanced):
    from pynetdicom import AE, evt

    from node_peers import ENHANCED

    got = []
    application = AE(ae_title="ARCHIVE")
    application.add_supported_context(ENHANCED)
    handlers = [(evt.EVT_C_STORE, lambda event: got.append(event.dataset) or 0x0000)]
    server = application.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        server.port = server.socket.getsockname()[1]
        rule = {"name": "chest", "destinations": ["ARCHIVE"], "enhanced": enhanced}
        running = node(to(server), rule=[rule])
        assert store(saved(tmp_path / "in", [image(1)]), running.port).returncode == 0
        if enhanced:
            until(lambda: got)
            assert got[0].SOPClassUID == ENHANCED
        else:
            found = until(lambda: (now := running.status()) and now["jobs"]["dead"] and now)
            assert "enhanced" in found["reasons"][0][1]
    finally:
        server.shutdown()
