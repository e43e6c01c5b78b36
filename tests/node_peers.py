"""For tests of the DICOM node: a node as a process of its own, real peers from Debian, made radiographs to send."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="the extra [node] is not installed")
pytest.importorskip("highdicom", reason="the extra [node] is not installed")

import pydicom
import tomli_w
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from dicom_objects import encoded, radiograph
from free_ports import free_port
from hilum.phantoms import LABELS, make_phantom
from hilum.serving.node.configuration import read_configuration
from hilum.serving.node.peers import queue_status

SR, SC = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"
ENHANCED = "1.2.840.10008.5.1.4.1.1.88.22"
CR = "1.2.840.10008.5.1.4.1.1.1"


PROGRAMS = "/usr/local/bin:/usr/bin:/usr/sbin:/opt/homebrew/bin"  # pynetdicom brings a storescu of its own


def tool(name):
    found = shutil.which(name, path=PROGRAMS)
    if not found:
        pytest.skip(f"{name} is not installed (Debian: dcmtk, orthanc, orthanc-dicomweb, dicom3tools)")
    return found


def until(true, seconds=60, every=0.05):
    """Wait until something holds; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(every)
    pytest.fail(f"did not happen within {seconds} s")


def image(number=0, *, size=256, bits=12, **elements):
    """A phantom as a CR object with identifiers of its own."""
    pixels = make_phantom(LABELS[number % 3], seed=5, patient=number, size=size).image
    if bits > 8:
        pixels = pixels.astype(np.uint16) << (bits - 8)
    identified = {
        "StudyInstanceUID": generate_uid(entropy_srcs=["study", str(number)]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=["series", str(number)]),
        "SOPInstanceUID": generate_uid(entropy_srcs=["instance", str(number)]),
        "StudyDate": time.strftime("%Y%m%d"),
        "BitsStored": bits,
        "HighBit": bits - 1,
        "WindowCenter": 2 ** (bits - 1),
        "WindowWidth": 2**bits,
        "ViewPosition": "PA",
    }
    found = radiograph(pixels, **identified | elements)
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    return found


def saved(folder, datasets):
    folder.mkdir(exist_ok=True, parents=True)
    files = []
    for number, dataset in enumerate(datasets):
        files.append(folder / f"{number:05}.dcm")
        files[-1].write_bytes(encoded(dataset))
    return files


def store(files, port, *, title="HILUM", calling="SENDER", options=()):
    """storescu of dcmtk; what it says and its exit code."""
    command = [tool("storescu"), "-aet", calling, "-aec", title, *options, "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def store_any(files, port):
    """C-STORE in the files' own transfer syntaxes; the statuses."""
    statuses = []
    for file in files:
        dataset = pydicom.dcmread(file)
        application = AE(ae_title="SENDER")
        application.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = application.associate("127.0.0.1", port, ae_title="HILUM")
        assert association.is_established
        statuses.append(association.send_c_store(dataset).Status)
        association.release()
    return statuses


class Archive:
    """A store SCP in a thread, which keeps what comes and answers with whatever status it is given."""

    def __init__(self, port=0):
        self.objects = []
        self.priorities = []
        self.status = lambda dataset: 0x0000
        self._server = None
        self.port = port
        self.start()

    def start(self):
        application = AE(ae_title="ARCHIVE")
        for kind in (SR, SC, ENHANCED):
            application.add_supported_context(kind)
        application.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._keep)]
        self._server = application.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self._server.socket.getsockname()[1]

    def _keep(self, event):
        dataset = event.dataset
        status = self.status(dataset)
        if status == 0x0000:
            self.objects.append(dataset)
            self.priorities.append(event.request.Priority)
        return status

    def stop(self):
        if self._server:
            self._server.shutdown()
            self._server = None

    def reports(self):
        """By the SOP Instance UID of the image, the UIDs of its reports."""
        found = {}
        for dataset in list(self.objects):
            if dataset.SOPClassUID in (SR, ENHANCED):
                source = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
                instance = source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                found.setdefault(instance, []).append(dataset.SOPInstanceUID)
        return found


class RunningNode:
    """`hilum node` as a process of its own."""

    def __init__(self, folder, settings, before_exec=None):
        self.folder = folder
        folder.mkdir(exist_ok=True, parents=True)
        self.config = folder / "node.toml"
        self.config.write_text(tomli_w.dumps(settings))
        self.log = (folder / "log.txt").open("ab+")
        self.ports = {}
        try:
            self.start(before_exec)
        except BaseException:
            self.log.close()
            raise

    def start(self, before_exec=None):
        command = [sys.executable, "-m", "hilum", "node", "--config", str(self.config)]
        before = len(self.lines())
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log, preexec_fn=before_exec)

        def started():
            if self.process.poll() is not None:
                raise AssertionError("\n".join(self.lines()[before:]))
            return next((line for line in self.events(before) if line["event"] == "started"), None)

        self.ports = until(started, 90)

    @property
    def port(self):
        return self.ports["dicom"]

    def lines(self):
        self.log.flush()
        return os.pread(self.log.fileno(), 10**9, 0).decode().splitlines()

    def events(self, start=0):
        return [json.loads(line) for line in self.lines()[start:] if line.startswith("{") and line.endswith("}")]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def ask(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['operations']}{path}", timeout=10) as answer:
            return answer.read().decode()

    def command(self, *arguments):
        command = [sys.executable, "-m", "hilum", "node", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def status(self):
        return asdict(queue_status(read_configuration(self.config)))

    def memory(self):
        """Resident memory in MiB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def settings(folder, *destinations, **more):
    """A configuration for tests: free ports, quick retries."""
    found = {
        "folder": str(folder / "state"),
        "listen": {"port": 0, "calling": ["SENDER", "ORTHANC"]},
        "limits": {"free_mib": 0, "first_delay": 0.2, "longest_delay": 1.0, "patience": 10.0},
        "operations": {"port": 0},
        "rule": [{"name": "chest", "destinations": [one["name"] for one in destinations]}],
        "destination": list(destinations),
    }
    for key, value in more.items():
        found[key] = found[key] | value if isinstance(value, dict) and key in found else value
    return found


def to(archive, name="ARCHIVE"):
    return {"name": name, "dicom": {"host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE"}}


DEPLOYED = Path(__file__).resolve().parents[1] / "deploy" / "orthanc"


class Orthanc:
    """Debian's Orthanc on loopback."""

    def __init__(self, folder):
        """By deploy/orthanc/orthanc.json; only paths, ports and the wait for a study to be stable are others."""
        self.folder = folder
        folder.mkdir(exist_ok=True, parents=True)
        self.http, self.port, self.node_port = free_port(), free_port(), free_port()
        chosen = json.loads((DEPLOYED / "orthanc.json").read_text())
        chosen |= {"HttpPort": self.http, "DicomPort": self.port, "StableAge": 1}
        chosen |= {"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")}
        chosen["LuaScripts"] = [str(DEPLOYED / "hilum.lua")]
        chosen["DicomModalities"]["HILUM"][2] = self.node_port
        self.config = folder / "orthanc.json"
        self.config.write_text(json.dumps(chosen))
        self.start()

    def start(self):
        self.log = (self.folder / "orthanc.log").open("ab")
        command = [tool("Orthanc"), str(self.config)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder)

        def answers():
            assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()[-2000:]
            try:
                return self.get("/system")
            except OSError:
                return None

        until(answers, 60)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
        self.log.close()

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            return json.loads(answer.read())

    def instances(self, modality):
        body = json.dumps({"Level": "Instance", "Query": {"Modality": modality}, "Expand": True}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/tools/find", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def file(self, identifier):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/instances/{identifier}/file", timeout=20) as answer:
            return pydicom.dcmread(io.BytesIO(answer.read()))

    @property
    def web(self):
        return f"http://127.0.0.1:{self.http}/dicom-web"


def settings_beside(orthanc, folder, **more):
    """By deploy/orthanc/node.toml; only paths, ports and waits are others."""
    found = tomllib.loads((DEPLOYED / "node.toml").read_text())
    found["folder"] = str(folder / "state")
    found["listen"]["port"] = orthanc.node_port
    found["operations"]["port"] = 0
    found["destination"][0]["dicom"]["port"] = orthanc.port
    found["source"][0]["web"]["url"] = orthanc.web
    found["limits"] = {"free_mib": 0, "first_delay": 0.2, "longest_delay": 1.0}
    found["source"][0] |= more.pop("source", {})
    return found | more


def in_thread(function, *arguments):
    thread = Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread
