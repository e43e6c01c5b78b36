"""A service of the model that comes with hilum, in this process, and one on a port."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")

from starlette.testclient import TestClient

from hilum.phantoms import LABELS, make_phantom
from hilum.serving.http.monitoring import Monitoring
from hilum.serving.http.served_models import ServedModels
from hilum.serving.http.service import create_app

TOKEN = "a token that is long enough"


def png(array):
    target = io.BytesIO()
    Image.fromarray(array).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="session")
def radiographs():
    """Six phantoms as PNG files, 256 pixels a side."""
    return [png(make_phantom(LABELS[i % 3], seed=3, patient=i, size=256).image) for i in range(6)]


@pytest.fixture(scope="session")
def shared_models():
    models = ServedModels()
    yield models
    models.close()


@pytest.fixture
def service(shared_models):
    """Make a client of a service: `service(limits=..., token=...)`; its log is `client.log`."""
    made = []

    def make(**options):
        log = io.StringIO()
        app = create_app(options.pop("models", shared_models), monitoring=Monitoring(log), **options)
        client = TestClient(app, base_url="http://127.0.0.1")  # without the lifespan: the models stay open
        client.log = log
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(service):
    return service()


class Running:
    """`hilum serve` as a process of its own."""

    def __init__(self, *arguments, **environment):
        command = [sys.executable, "-m", "hilum", "serve", "--port", "0", *arguments]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would fill up
        self.process = subprocess.Popen(
            command, stderr=self.log, env={**os.environ, **environment}, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            line = self.lines()[:1]
            if line and line[0].startswith("http"):
                self.address = line[0].split(" ")[0].rstrip("/")
                self.port = int(self.address.rsplit(":", 1)[1])
                if self.answers():
                    return
            time.sleep(0.05)
        raise TimeoutError(self.lines())

    def lines(self):
        """What it has written so far."""
        return os.pread(self.log.fileno(), 10**8, 0).decode().splitlines()

    def answers(self):
        """Whether somebody listens at its port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def memory(self):
        """Resident memory in MiB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def kill(self):
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def end(self):
        """Ask it to end; its exit code and the lines of its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return self.process.returncode, [json.loads(line) for line in self.lines() if line.startswith("{")]


@pytest.fixture(scope="module")
def once_running():
    """One service for all tests of a module."""
    found = Running()
    yield found
    found.kill()


@pytest.fixture
def running():
    started = []

    def run(*arguments, **environment):
        started.append(Running(*arguments, **environment))
        return started[-1]

    yield run
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def noise():
    return png(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))


@pytest.fixture(scope="session")
def dicom_file():
    """A phantom as a DICOM object, in bytes."""
    from dicom_objects import encoded, radiograph

    pixels = make_phantom(LABELS[1], seed=3, patient=1, size=256).image.astype(np.uint16) * 16
    return encoded(radiograph(pixels))
