"""`kill -9` at any moment: every image that was acknowledged is reported, and none twice.

Twice means two reports of other UIDs. Between the archive's answer and the commit of "sent" no sender can know what the
other side has: what is killed there is sent again with the same UIDs, and the archive keeps one. So reports are counted
at the archive by SOP Instance UID, and so are repeated C-STOREs.
"""

import random
import subprocess
import time
from threading import Event, Thread

import pytest

from node_peers import image, saved, store, until
from sizes import sized


class Sender:
    """Sends files one after another until each was acknowledged, as a modality's spooler does."""

    def __init__(self, files, running):
        self.left = list(files)
        self.running = running
        self.ended = Event()
        Thread(target=self.run, daemon=True).start()

    def run(self):
        while self.left:
            try:
                answered = store(self.left[:1], self.running.port, options=("-to", "5", "-td", "10")).returncode == 0
            except (KeyError, subprocess.TimeoutExpired):
                answered = False
            if answered:
                self.left.pop(0)
            else:
                time.sleep(0.05)
        self.ended.set()


def kill_often(node, archive, tmp_path, images, kills, seed):
    chance = random.Random(seed)
    running = node(archive)
    sender = Sender(saved(tmp_path / "in", images), running)
    for _ in range(kills):
        time.sleep(chance.uniform(0, 1.0))
        running.kill()
        running.start()
    assert sender.ended.wait(120)
    until(lambda: running.status()["jobs"]["sent"] == len(images), 120)
    found = archive.reports()
    assert set(found) == {one.SOPInstanceUID for one in images}
    assert {len(set(reports)) for reports in found.values()} == {1}
    again = sum(len(reports) - 1 for reports in found.values())
    assert again <= kills  # at most the one that was under way at each kill
    assert len({uid for reports in found.values() for uid in reports}) == len(images)
    return again


def test_a_few_kills(node, archive, tmp_path):
    kill_often(node, archive, tmp_path, [image(number, size=128) for number in range(6)], 2, seed=1)


@pytest.mark.slow
def test_fifty_kills(node, archive, tmp_path):
    kill_often(
        node, archive, tmp_path, [image(number, size=128) for number in range(sized(60, 250))], sized(12, 50), seed=2
    )
