"""Processes that decode DICOM: replaced, limited, and ended with whoever started them."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.data import bounded
from hilum.data.bounded import read_dicom
from hilum.data.images import read_radiograph
from hilum.errors import ImageError, PassingImageError

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from dicom_objects import TWELVE, encoded, radiograph


def processes():
    return [worker.process for worker in bounded._workers.idle]


def test_one_process_serves_many_and_one_that_ends_is_replaced():
    read_dicom(encoded(radiograph()))
    first = processes()
    for _ in range(3):
        read_dicom(encoded(radiograph()))
    assert processes() == first
    for process in first:  # as the system does where memory is short
        process.kill()
        process.wait()
    assert read_dicom(encoded(radiograph()))[0].pixels.shape == (160, 100)
    assert not set(processes()) & set(first)


def test_an_object_that_takes_too_long_is_given_up_and_the_next_is_read(monkeypatch):
    read_dicom(encoded(radiograph()))
    monkeypatch.setattr(bounded, "PATIENCE", 0.001)
    with pytest.raises(PassingImageError):  # by the clock, which other work on this machine moves, too
        read_dicom(encoded(radiograph(np.zeros((4000, 4000), np.uint16), **TWELVE)))
    monkeypatch.undo()
    assert read_dicom(encoded(radiograph()))[0].pixels.shape == (160, 100)


def test_an_object_on_which_every_process_ends_is_named(monkeypatch, refuses):
    monkeypatch.setattr(bounded, "START", "import sys; sys.stdin.readline(); sys.exit(1)")
    bounded._workers.end()
    with refuses(ImageError, "broke-down"):
        read_dicom(encoded(radiograph()), "x.dcm")
    monkeypatch.undo()
    assert read_dicom(encoded(radiograph()))[0].pixels.shape == (160, 100)


@pytest.mark.parametrize("answer", ["[]", "7", "null", "no json"])
def test_an_answer_that_is_no_object_is_a_breakdown(answer, monkeypatch, refuses):
    monkeypatch.setattr(bounded, "START", f"import sys; sys.stdin.buffer.readline(); print({answer!r})")
    bounded._workers.end()
    with refuses(ImageError, "broke-down"):
        read_dicom(encoded(radiograph()), "x.dcm")


def test_modules_of_the_working_directory_are_not_run(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    bounded._workers.end()
    assert read_dicom(encoded(radiograph()))[0].pixels.shape == (160, 100)
    assert not (tmp_path / "ran").exists()


def test_a_process_is_replaced_after_many_objects(monkeypatch):
    monkeypatch.setattr(bounded, "FILES", 2)
    bounded._workers.end()
    seen = []
    for _ in range(4):
        read_dicom(encoded(radiograph()))
        seen += processes()
    assert len(set(seen)) == 2


def test_several_at_a_time_each_get_their_own():
    shades = [np.full((40, 40), shade, np.uint8) for shade in range(0, 250, 10)]
    for shade in shades:
        shade[0, 0] = 255
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda shade: read_dicom(encoded(radiograph(shade)))[0].pixels, shades))
    for pixels, shade in zip(found, shades, strict=True):
        np.testing.assert_allclose(pixels, shade / 255, atol=1e-6)
    assert len(processes()) <= (os.cpu_count() or 1)


def test_processes_end_with_whoever_started_them():
    code = "from dicom_objects import *; from hilum.data import bounded;"
    code += "bounded.read_dicom(encoded(radiograph()));"
    code += "print(bounded._workers.idle[0].process.pid, flush=True); import os; os._exit(9)"
    path = os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONPATH": path})
    number = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{number}/stat").exists() and ") Z " in Path(f"/proc/{number}/stat").read_text():
            return  # ended, and nobody has asked for its result yet
        time.sleep(0.05)
    pytest.fail("the process outlived its parent")


def test_the_memory_of_a_decoder_is_bounded():
    """A file that makes the decoding process ask for more than its share ends there, not here."""
    limits = "b.bound_process(b.SECONDS, b.ADDRESSES, b.MEMORY)"
    code = f"from hilum.data import bounded as b; import numpy; {limits}; numpy.ones(2**27)"
    pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("only Linux holds a process to its address space")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in result.stderr


@pytest.mark.slow
def test_a_process_has_all_its_memory_for_each_image(tmp_path):
    """What it read before is no longer in its memory: 64 million pixels take most of what it may use."""
    Image.fromarray(np.arange(8000 * 8000, dtype=np.uint32).astype(np.uint8).reshape(8000, 8000)).save(
        tmp_path / "x.png"
    )
    first, second, third = (read_radiograph(tmp_path / "x.png", "x.png")[0].pixels.mean() for _ in range(3))
    assert first == second == third == pytest.approx(0.5, abs=0.01)
