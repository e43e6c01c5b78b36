"""Images come by C-STORE, reports go by C-STORE: the queue between them, and what is refused."""

from node_peers import image, saved, store, until


def test_every_image_is_reported_once(node, archive, tmp_path):
    images = [image(number) for number in range(4)]
    running = node(archive)
    assert store(saved(tmp_path / "in", images), running.port).returncode == 0
    until(lambda: len(archive.reports()) == 4)
    assert {one.SOPInstanceUID for one in images} == set(archive.reports())
    assert all(len(reports) == 1 for reports in archive.reports().values())
    until(lambda: running.status()["jobs"]["sent"] == 4)
    assert running.end() == 0
