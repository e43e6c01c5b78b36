"""DICOMweb: reports by STOW-RS, images by QIDO-RS and WADO-RS."""

import contextlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from dicom_objects import encoded
from hilum.serving.node.configuration import Web
from hilum.serving.node.sender import UnreachableError
from hilum.serving.node.statuses import Verdict
from hilum.serving.node.web_channel import TooLargeError, WebChannel
from node_peers import image, in_thread, saved, settings, store, until


@contextlib.contextmanager
def service(answer):
    """A web service in a thread; `answer(handler)` gives status, content type and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self):
            status, kind, body = answer(self)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    in_thread(server.serve_forever)
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


def failed(reason):
    item = {"00081197": {"vr": "US", "Value": [reason]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


JSON = "application/dicom+json"


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"{}", Verdict.SENT),
        (202, failed(0xA700), Verdict.AGAIN),
        (202, failed(0xC000), Verdict.DEAD),
        (409, failed(0x0111), Verdict.SENT),
        (409, failed(0xA900), Verdict.DEAD),
        (409, b"no JSON", Verdict.DEAD),
        (400, b"{}", Verdict.DEAD),
        (415, b"{}", Verdict.DEAD),
        (500, b"{}", Verdict.AGAIN),
        *((code, b"{}", None) for code in (401, 403, 404, 429, 502, 503, 504)),
    ],
)
def test_each_answer_to_stow_has_a_verdict(tmp_path, status, body, verdict):
    files = saved(tmp_path, [image(1, size=64)])
    with service(lambda _: (status, JSON, body)) as url, contextlib.closing(WebChannel(Web(url=url), 5.0)) as channel:
        if verdict is None:  # the service, not the object: nothing becomes a dead letter
            with pytest.raises(UnreachableError, match=str(status)):
                channel.send(files, urgent=False)
        else:
            assert channel.send(files, urgent=False).verdict is verdict


def test_tokens_and_users_go_into_the_header(tmp_path):
    got = []

    def answer(handler):
        got.append(handler.headers.get("Authorization"))
        return 200, JSON, b"[]"

    (tmp_path / "token").write_text("a-secret\n")
    (tmp_path / "user").write_text("me:a-word")
    with service(answer) as url:
        for web in (Web(url=url, token_file=tmp_path / "token"), Web(url=url, user_file=tmp_path / "user")):
            with contextlib.closing(WebChannel(web, 5.0)) as channel:
                assert channel.check() == ""
    assert got == ["Bearer a-secret", "Basic bWU6YS13b3Jk"]


def test_what_is_fetched_is_bounded_and_whole():
    content = encoded(image(1, size=64))
    marker = b"--frontier"
    message = marker + b"\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" + marker + b"--\r\n"
    kind = "multipart/related; type=application/dicom; boundary=frontier"
    answers = {"1": (kind, message), "2": ("application/dicom", content), "3": (kind, message[:-200])}
    served = service(lambda handler: (200, *answers[handler.path[-1]]))
    with served as url, contextlib.closing(WebChannel(Web(url=url), 5.0)) as channel:
        assert channel.fetch("1", "1", "1", 10**6) == content
        assert channel.fetch("1", "1", "2", 10**6) == content
        with pytest.raises(UnreachableError):
            channel.fetch("1", "1", "3", 10**6)
        with pytest.raises(TooLargeError):
            channel.fetch("1", "1", "1", 1000)


def test_a_service_that_does_not_answer_is_said_without_its_url():
    with contextlib.closing(WebChannel(Web(url="http://127.0.0.1:9/secret"), 1.0)) as channel:
        said = channel.check()
        assert said
        assert "secret" not in said
        with pytest.raises(UnreachableError) as raised:
            list(channel.find({"Modality": "CR"}, 10))
        assert "secret" not in str(raised.value)


def test_reports_are_stored_by_stow(orthanc, node, tmp_path):
    one = image(1)
    running = node({"name": "WEB", "web": {"url": orthanc.web}})
    assert store(saved(tmp_path / "in", [one]), running.port).returncode == 0
    until(lambda: orthanc.instances("SR"))
    until(lambda: running.status()["jobs"]["sent"] == 1)
    found = requests.get(
        f"{orthanc.web}/studies/{one.StudyInstanceUID}/series", headers={"Accept": JSON}, timeout=20
    ).json()
    assert [series["00080060"]["Value"] for series in found] == [["SR"]]


def test_a_node_that_only_polls(orthanc, tmp_path, node):
    """It asks for chest radiographs of the last days, takes each once, and stores what it says."""
    source = {"name": "archive", "every": 0.5, "days": 2, "most": 2, "web": {"url": orthanc.web}}
    images = [image(number) for number in range(3)]
    old = image(9, StudyDate="20200101")
    assert store(saved(tmp_path / "in", [*images, old]), orthanc.port, title="ORTHANC").returncode == 0
    described = settings(tmp_path, {"name": "WEB", "web": {"url": orthanc.web}}, source=[source])
    del described["listen"]
    running = node.described(described)
    until(lambda: len(orthanc.instances("SR")) == 3)
    polls = len(running.events())
    until(lambda: running.status()["jobs"]["sent"] == 3)
    assert running.status()["jobs"] == {"received": 0, "answered": 0, "sent": 3, "refused": 0, "dead": 0}
    assert polls
