"""The DICOM node: images a minute from C-STORE to stored report, beside the predictor alone; memory after many images.

Peers are dcmtk's storescu and storescp. Each image is on the disk, and in a queue that is on the disk, before it is
acknowledged; each report before it is sent.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.phantoms import LABELS, make_phantom
from hilum.serving.node.queue import Queue
from hilum.serving.predictor import Predictor

PROGRAMS = "/usr/local/bin:/usr/bin:/opt/homebrew/bin"  # pynetdicom brings programs of the same names
SIDE = 1024
CONFIG = """
folder = "state"
[listen]
port = 0
calling = ["BENCH"]
[operations]
port = 0
[limits]
free_mib = 0
[[rule]]
name = "chest"
destinations = ["archive"]
[[destination]]
name = "archive"
dicom = {{ host = "127.0.0.1", port = {port}, ae_title = "ARCHIVE" }}
"""


def measure(setting: Setting) -> list[Measurement]:
    folder = setting.folder / "node"
    images = _pictures(8 if setting.quick else 24, SIDE)
    count = 32 if setting.quick else 192
    with _running(folder) as node:
        predictor = Predictor()
        spent: dict[str, list[float]] = {}

        def counted(name: str, process: int, work: Callable[[list[Path]], float]) -> float:
            files = _written(folder / "in", images, count)
            before = _processor_seconds(process)
            rate = work(files)
            spent.setdefault(name, []).append(1000 * (_processor_seconds(process) - before) / count)
            return 60 * rate

        works = {
            "hilum node": lambda: counted("hilum node", node.process.pid, node.work),
            "the predictor alone": lambda: counted(
                "the predictor alone", os.getpid(), lambda f: _predict(predictor, f)
            ),
        }
        for work in works.values():
            work()
        spent.clear()
        found = in_turn(works, setting.repeats(5, 3), setting.say)
        what = f"{count} images of {SIDE} x {SIDE}, 16 bits"
        rate = Measurement("images by DICOM", "images/min", found, what)
        time_spent = Measurement("processor time of an image by DICOM", "ms", spent, what)
        return [rate, time_spent, _memory(folder, node, 200 if setting.quick else 5000)]


@dataclass
class _Node:
    process: subprocess.Popen[bytes]
    port: int
    queue: Queue

    def work(self, files: list[Path]) -> float:
        """Images a second from the first C-STORE to the last stored report."""
        before, begin = self.queue.counts()["sent"], time.perf_counter()
        command = [_program("storescu"), "-aet", "BENCH", "-aec", "HILUM", "127.0.0.1", str(self.port)]
        subprocess.run([*command, *map(str, files)], check=True, capture_output=True)
        while self.queue.counts()["sent"] < before + len(files):
            time.sleep(0.02)
        return len(files) / (time.perf_counter() - begin)

    def mib(self) -> float:
        """Resident memory of the node, without its decoders."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _processor_seconds(process: int) -> float:
    """Of a process and its children, such as decoders, user and system."""
    found, left = 0.0, [process]
    while left:
        folder = Path("/proc") / str(left.pop())
        with suppress(OSError):  # it has ended meanwhile
            values = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            found += sum(map(int, values[11:15])) / os.sysconf("SC_CLK_TCK")
            for children in folder.glob("task/*/children"):
                left += map(int, children.read_text(encoding="ascii").split())
    return found


def _memory(folder: Path, node: _Node, count: int) -> Measurement:
    small = _pictures(8, 256)
    node.work(_written(folder / "in", small, 100))
    before = node.mib()
    for _ in range(0, count, 100):
        node.work(_written(folder / "in", small, 100))
    return Measurement("memory of the node", "MiB", {f"after {count} images": [node.mib()], "before": [before]})


@contextmanager
def _running(folder: Path) -> Iterator[_Node]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "archive").mkdir(exist_ok=True)
    port = 11_999
    command = [_program("storescp"), "--ignore", "-aet", "ARCHIVE", "-od", str(folder / "archive"), "+xa", str(port)]
    archive = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"})  # else it answers 40 ms late
    (folder / "node.toml").write_text(CONFIG.format(port=port), encoding="ascii")
    command = [sys.executable, "-m", "hilum", "node", "--config", str(folder / "node.toml")]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        while not (line := (folder / "log.txt").read_text(encoding="ascii").partition("\n")[0]):
            time.sleep(0.1)
        yield _Node(process, json.loads(line)["dicom"], Queue(folder / "state"))
    finally:
        for one in (process, archive):
            one.terminate()
            one.wait()


def _program(name: str) -> str:
    found = shutil.which(name, path=PROGRAMS)
    if not found:
        msg = f"{name} is not installed (Debian: dcmtk)"
        raise FileNotFoundError(msg)
    return found


def _predict(predictor: Predictor, files: list[Path]) -> float:
    begin = time.perf_counter()
    assert not any(answer.error for answer in predictor.predict_many(files))
    return len(files) / (time.perf_counter() - begin)


def _pictures(count: int, side: int) -> list[bytes]:
    made = (make_phantom(LABELS[number % 3], seed=1, patient=number, size=side).image for number in range(count))
    return [(image.astype(np.uint16) << 4).tobytes() for image in made]


def _written(folder: Path, pictures: list[bytes], count: int) -> list[Path]:
    """Files with identifiers that were never seen."""
    folder.mkdir(exist_ok=True)
    files = []
    for number in range(count):
        pixels = pictures[number % len(pictures)]
        side = int((len(pixels) / 2) ** 0.5)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
        one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = generate_uid(), generate_uid()
        one.Modality, one.BodyPartExamined, one.ViewPosition = "CR", "CHEST", "PA"
        one.PhotometricInterpretation, one.SamplesPerPixel = "MONOCHROME2", 1
        one.Rows = one.Columns = side
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.WindowCenter, one.WindowWidth = 2048, 4096
        one.PixelData = pixels
        files.append(folder / f"{number}.dcm")
        pydicom.dcmwrite(files[-1], one, enforce_file_format=True)
    return files
