"""Graphs that are exported once, a browser, and what it is shown."""

import hashlib

import pytest

from hilum.exporting.graph import to_onnx
from offline_page import CHROMIUM, write_disguised


@pytest.fixture(scope="session")
def exported():
    return {}


@pytest.fixture
def graphs_once(exported, monkeypatch):
    """Export each graph once, for tests of what else a model file holds: the same graph gives the same bytes.

    Fixed by a test of its own: `test_the_same_run_gives_the_same_bytes`.
    """

    def once(graph, size, outputs):
        weights = b"".join(tensor.numpy().tobytes() for tensor in graph.state_dict().values())
        key = (hashlib.sha256(weights).digest(), str(graph), graph.decisions, graph.preprocessing, size, outputs)
        key = (*map(str, key), str(graph.temperatures))
        if key not in exported:
            exported[key] = to_onnx(graph, size, outputs)
        return exported[key]

    monkeypatch.setattr("hilum.exporting.export.to_onnx", once)


@pytest.fixture(scope="module")  # Playwright allows one at a time in a process, and other modules have theirs
def browser():
    from playwright import sync_api

    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Phantoms of 75 to 600 pixels a side, many not square, as PNG and JPEG files."""
    return write_disguised(tmp_path_factory.mktemp("phantoms"))
