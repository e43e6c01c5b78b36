"""A node and its peers, each ended with the test that started it."""

import gc
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the extra [node] is not installed")
pytest.importorskip("highdicom", reason="the extra [node] is not installed")

from node_peers import Archive, Orthanc, RunningNode, settings, settings_beside, to

HERE = Path(__file__).parent
QUICK = ("test_configuration", "test_store")


def pytest_collection_modifyitems(items):
    """pynetdicom, as a peer in this process, leaves sockets of broken associations to the garbage collector."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))
            if item.path.stem not in QUICK:
                item.add_marker(pytest.mark.peers)


@pytest.fixture(autouse=True)
def no_sockets_left():
    """These are collected here, and not during a test that is not meant."""
    yield
    gc.collect()


@pytest.fixture
def archive():
    found = Archive()
    yield found
    found.stop()


@pytest.fixture
def node(tmp_path):
    """Start a node: `node(archive, listen={...})`."""
    started = []

    def start(*destinations, before_exec=None, **more):
        described = [one if isinstance(one, dict) else to(one) for one in destinations]
        folder = tmp_path / f"node{len(started)}"
        started.append(RunningNode(folder, settings(folder, *described, **more), before_exec))
        return started[-1]

    def described(chosen):
        started.append(RunningNode(tmp_path / f"node{len(started)}", chosen))
        return started[-1]

    start.described = described
    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        one.log.close()


@pytest.fixture(scope="module")
def running_node(tmp_path_factory):
    """One node for all tests of a module that send it nothing that it takes; its destination does not exist."""
    folder = tmp_path_factory.mktemp("running")
    nowhere = {"name": "NOWHERE", "dicom": {"host": "127.0.0.1", "port": 9, "ae_title": "NOWHERE"}}
    found = RunningNode(folder, settings(folder, nowhere))
    yield found
    found.kill()
    found.log.close()


@pytest.fixture
def orthanc(tmp_path):
    found = Orthanc(tmp_path / "orthanc")
    yield found
    found.stop()


@pytest.fixture
def beside(orthanc, tmp_path):
    """Start a node beside Orthanc, by the files of deploy/orthanc."""
    started = []

    def start(**more):
        folder = tmp_path / "beside"
        started.append(RunningNode(folder, settings_beside(orthanc, folder, **more)))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        one.log.close()
