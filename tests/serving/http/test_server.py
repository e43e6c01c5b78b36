"""`hilum serve` as a process: where it listens, how it ends, what it survives."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hilum.errors import UsageError
from hilum.serving.http import server
from hilum.serving.model_file import shipped_model

TOKEN = "a token that is long enough"


def post(port, content, path="/v1/predict", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, content, {"content-type": "application/octet-stream", **headers})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text(encoding="ascii").split()
    return {int(child) for child in found}


def test_it_answers_and_ends_with_the_requests_under_way(running, radiographs):
    service = running()
    assert post(service.port, radiographs[0])[0] == 200
    with socket.create_connection(("127.0.0.1", service.port)) as slow:  # an upload that is half there
        head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(radiographs[1])}\r\n\r\n"
        slow.sendall(head.encode() + radiographs[1][:1000])
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        slow.sendall(radiographs[1][1000:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    code, log = service.end()
    assert code in (0, -signal.SIGTERM)  # uvicorn raises the signal again once it has ended in order
    assert [line["status"] for line in log if line["event"] == "request"] == [200, 200]


def test_uploads_that_stand_still_end(service, radiographs, running, monkeypatch):
    """By a service whose patience is short; the time limits themselves are counted in `Upload`."""
    script = (
        "import sys\nfrom hilum.serving.http import server, uploads\n"
        "server.HEADERS_WITHIN = 1.0\n"
        "server.serve([], host='127.0.0.1', port=0, token=None, limits=uploads.Limits(idle=0.5), "
        "tell=lambda address: print(address, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        port = int(process.stdout.readline().strip().rstrip("/").rsplit(":", 1)[1])
        time.sleep(0.5)
        with (
            socket.create_connection(("127.0.0.1", port)) as slow,
            socket.create_connection(("127.0.0.1", port)) as mute,
        ):
            slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000\r\n\r\nabc")
            mute.sendall(b"GET / HT")
            slow.settimeout(20)
            mute.settimeout(20)
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
            assert mute.recv(100) == b""
    finally:
        process.kill()
        process.communicate()


def test_a_killed_decoder_costs_one_answer_at_most(running, dicom_file):
    service = running()
    content = dicom_file
    assert post(service.port, content)[0] == 200
    statuses = []

    def ask():
        statuses.extend(post(service.port, content)[0] for _ in range(10))

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(20):
        for child in children(service.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    asking.join()
    assert set(statuses) <= {200, 422, 503}
    assert post(service.port, content)[0] == 200


def test_models_are_read_anew_without_dropping_a_request(running, radiographs, tmp_path):
    file = tmp_path / "model.onnx"
    shutil.copy(shipped_model(), file)
    service = running("--model", str(file))
    file.write_bytes(b"damaged")
    service.process.send_signal(signal.SIGHUP)
    statuses = [post(service.port, radiographs[0])[0] for _ in range(20)]
    shutil.copy(shipped_model(), file)
    service.process.send_signal(signal.SIGHUP)
    statuses += [post(service.port, radiographs[0])[0] for _ in range(20)]
    time.sleep(1)
    _, log = service.end()
    assert set(statuses) == {200}
    assert [line["result"] for line in log if line["event"] == "reload"] == ["failed", "done"]


def test_an_occupied_port_is_one_message(hilum):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = hilum("serve", "--port", str(taken.getsockname()[1]), alone=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_port_is_taken_and_can_be_called_before_the_service_has_started():
    with server.listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
        with pytest.raises(UsageError) as caught:
            server.listen("127.0.0.1", port)
    assert caught.value.code == "port"


def test_a_damaged_model_file_is_one_message(hilum, tmp_path):
    file = tmp_path / "m.onnx"
    file.write_bytes(b"damaged")
    done = hilum("serve", "--model", str(file), "--port", "0", alone=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hospital.example"])
def test_it_listens_beyond_this_machine_with_a_token_alone(host, tmp_path, monkeypatch):
    monkeypatch.delenv("HILUM_TOKEN", raising=False)
    with pytest.raises(UsageError) as refused:
        server.find_token(None, host, open_to_all=False)
    assert refused.value.code == "no-token"
    assert server.find_token(None, host, open_to_all=True) is None
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n", encoding="ascii")
    assert server.find_token(file, host, open_to_all=False) == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_on_this_machine_it_needs_no_token(host, monkeypatch):
    monkeypatch.delenv("HILUM_TOKEN", raising=False)
    assert server.find_token(None, host, open_to_all=False) is None


@pytest.mark.parametrize("text", ["", "short", "not plain: é and so on", "two\nlines that are long"])
def test_a_weak_token_is_refused(text, tmp_path):
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        server.find_token(file, "127.0.0.1", open_to_all=False)
    assert refused.value.code == "token"
