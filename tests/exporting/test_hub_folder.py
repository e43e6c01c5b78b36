"""Folders for hubs, and model files loaded from one; the hub is a local server that speaks the download protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hilum.errors import ModelFileError, UsageError
from hilum.exporting.export import write_hub_folder
from hilum.serving.model_file import open_model_file
from hilum.serving.predictor import Predictor, fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(bundle_of, tmp_path):
    write_hub_folder(open_model_file(bundle_of("flat")), tmp_path / "hub")
    return tmp_path / "hub"


def test_the_folder_has_what_hubs_look_for(folder, bundle_of):
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.onnx"]
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "normal", "1": "infected/covid", "2": "infected/non-covid"}
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: ")
    assert 'pipeline_tag: "image-classification"' in card
    assert Predictor(folder).model["sha256"] == open_model_file(bundle_of("flat")).sha256


def test_hugging_faces_own_reader_understands_the_card(folder):
    hub = pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.library_name == "hilum"
    assert "Not for diagnosis" in card.text


class Hub(BaseHTTPRequestHandler):
    """``/owner/lungs/resolve/<revision>/model.onnx``, and 404 for everything else."""

    content = b""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        found = self.path.startswith("/owner/lungs/resolve/") and self.path.endswith("/model.onnx")
        self.send_response(200 if found else 404)
        content = self.content if found else b""
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if not found:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(folder, tmp_path):
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    handler = type("Served", (Hub,), {"content": (folder / "model.onnx").read_bytes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "cache"), **proxies}
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_bundle_is_loaded_from_a_hub_by_its_name(hub, bundle_of, squares):
    """In a process of its own: the client reads its settings when it is imported."""
    file = next((squares / "test" / "normal").iterdir())
    command = [sys.executable, "-m", "hilum", "predict", str(file), "--json", "-", "--model"]
    environment = {**os.environ, **hub}
    given = {"capture_output": True, "text": True, "env": environment, "check": False}
    loaded = subprocess.run([*command, "hf://owner/lungs"], **given)
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["model"]["sha256"] == open_model_file(bundle_of("flat")).sha256
    missing = subprocess.run([*command, "hf://owner/none"], **given)
    assert missing.returncode == 1
    assert "hf://owner/none: cannot be loaded" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_an_unreachable_hub_is_said_at_once_and_a_copy_in_the_cache_is_used(hub, bundle_of, squares, one_message):
    """Port 9 of this machine: nothing listens there."""
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    file = next((squares / "test" / "normal").iterdir())
    command = [sys.executable, "-m", "hilum", "predict", str(file), "--json", "-", "--model", "hf://owner/lungs"]
    offline = {**os.environ, **hub, "HF_ENDPOINT": "http://127.0.0.1:9"}
    begin = time.monotonic()
    missing = subprocess.run(command, capture_output=True, text=True, env=offline, check=False)
    assert time.monotonic() - begin < 15  # with a client that waits for seconds, it was 24 s
    one_message(missing, 1)
    assert len(missing.stderr.splitlines()) == 1
    subprocess.run(command, capture_output=True, env={**os.environ, **hub}, check=True)
    cached = subprocess.run(command, capture_output=True, text=True, env=offline, check=True)
    assert json.loads(cached.stdout)["model"]["sha256"] == open_model_file(bundle_of("flat")).sha256


def test_a_name_that_is_none_is_refused(refuses):
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    with refuses(ModelFileError, "malformed-name"):
        fetch("hf://not a name")


def test_what_an_upload_would_publish_beside_the_model_is_refused(folder, bundle_of, tmp_path):
    """The folder is uploaded as a whole: one with radiographs, or with the patients of a run, is not for that."""
    (folder / ".gitattributes").touch()
    (folder / "LICENSE").touch()
    write_hub_folder(open_model_file(bundle_of("flat")), folder)
    (folder / "split.csv").touch()
    with pytest.raises(UsageError):
        write_hub_folder(open_model_file(bundle_of("flat")), folder)
