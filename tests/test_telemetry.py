"""hilum sends nothing to anybody, and writes nothing but its own files (docs/explanation/security.md)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hilum

SOURCE = Path(hilum.__file__).resolve().parents[1]
WATCHED = Path(__file__).parent / "watched"
PRETRAINED = next((SOURCE / "hilum" / "serving" / "models").glob("*.onnx"))
WAIT = 20  # seconds after which ONNX Runtime, where it may, has sent what it knows
# What PyTorch and Matplotlib leave when they are imported; none of it tells of images (docs/explanation/security.md).
FOREIGN = (".cache/matplotlib", ".config/matplotlib")
TEMPORARY = "torchinductor_"  # an empty folder
RUNTIME_ALONE = (
    "import sys, time, numpy as np, onnxruntime\n"
    "session = onnxruntime.InferenceSession(sys.argv[1])\n"
    "given = session.get_inputs()[0]\n"
    "session.run(None, {given.name: np.zeros((1, *given.shape[1:]), np.uint8)})\n"
    "time.sleep(float(sys.argv[2]))\n"
)
RAY_ALONE = "import ray, sys, time; ray.init(num_cpus=1, include_dashboard=False); time.sleep(float(sys.argv[1]))"
COMMANDS = """
import os, sys, time
from hilum.cli.app import main
few = ["network.options.width=4", "network.options.blocks=[1,1]", "preprocessing.size=32", "training.epochs=1"]
for words in (
    ["audit", "data", "--out", "audit"],
    ["train", "data", "--out", "run", "--recipe", "compact", *(part for item in few for part in ("--set", item))],
    ["export", "run", "model.onnx"],
    ["predict", "data", "--model", "model.onnx", "--json", "answers.json", "--explain", "explained"],
):
    sys.argv = ["hilum", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
time.sleep(float(os.environ["WAIT"]))
"""


class Watch:
    """A home, a folder for temporary files and one to work in, and what is done there and elsewhere."""

    def __init__(self, root):
        self.root, self.log = root, root / "log"
        self.places = {name: root / name for name in ("home", "tmp", "work")}
        for place in self.places.values():
            place.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.places["home"]),
            "TMPDIR": str(self.places["tmp"]),
            "WATCH_LOG": str(self.log),
            "PYTHONPATH": os.pathsep.join([str(WATCHED), str(SOURCE)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command, **environment):
        """In this process's place; its exit status has to be 0."""
        result = subprocess.run(
            [*map(str, command)],
            cwd=self.places["work"],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def noted(self, kind):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [text for found, _, text in (line.partition("\t") for line in lines) if found == kind]

    def left(self, place):
        """Files and empty folders, relative to the place."""
        root = self.places[place]
        found = [path for path in root.rglob("*") if not path.is_dir() or not any(path.iterdir())]
        return {path.relative_to(root).as_posix() for path in found}

    def written_elsewhere(self):
        """What was written outside of the three places, or of which nothing is left there now."""
        return {path for path in self.noted("write") if not path.startswith((str(self.root), "/dev/null", "/dev/tty"))}


@pytest.fixture
def watch(tmp_path):
    found = Watch(tmp_path)
    generator = np.random.default_rng(0)
    for k, label in enumerate(("normal", "infected")):
        folder = found.places["work"] / "data" / label
        folder.mkdir(parents=True)
        for patient in range(24):
            pixels = generator.normal(60 + 60 * k, 25, (64, 64)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"p{patient:03d}-0.png")
    return found


def namespace(root):
    """The words before a command that make it run where nobody can be reached but what listens here."""
    resolver, log = root / "resolv.conf", root / "asked"
    resolver.write_text("nameserver 127.0.0.1\n")
    log.touch()
    enter = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c"]
    enter += [f'mount --bind "{resolver}" /etc/resolv.conf && exec "$@"', "sh"]
    enter += [sys.executable, str(WATCHED / "listening.py"), str(log)]
    try:
        plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        tried = subprocess.run([*enter, "true"], capture_output=True, text=True, env=plain, timeout=60)
    except OSError as error:
        pytest.skip(f"no network namespace here: {error}")
    if tried.returncode:
        pytest.skip(f"no network namespace here: {tried.stderr.strip()[-200:]}")
    return enter, log


@pytest.mark.timeout(120)
def test_a_prediction_connects_to_nobody_and_leaves_nothing(watch):
    data = watch.places["work"] / "data"
    try:
        from dicom_objects import encoded, radiograph

        (data / "a.dcm").write_bytes(encoded(radiograph()))  # decoded by a process of its own
    except ImportError:
        pass
    watch.run(sys.executable, "-m", "hilum", "predict", data, "--json", "answers.json")
    assert watch.noted("network") == []
    assert watch.left("home") == watch.left("tmp") == watch.written_elsewhere() == set()
    assert {name for name in watch.left("work") if not name.startswith("data/")} == {"answers.json"}
    assert len((watch.places["work"] / "answers.json").read_text().splitlines()) >= 48


@pytest.mark.timeout(120)
def test_a_model_of_somebody_else_is_tried_in_as_much_silence(watch):
    from crafted_models import assembled, facts, network

    (watch.places["work"] / "m.onnx").write_bytes(assembled(facts(), network()))
    watch.run(sys.executable, "-m", "hilum", "predict", "data", "--model", "m.onnx", "--json", "answers.json")
    assert watch.noted("network") == []
    assert watch.left("home") == watch.left("tmp") == watch.written_elsewhere() == set()


@pytest.mark.timeout(120)
def test_the_watch_sees_what_onnx_runtime_does_when_nobody_silences_it(watch):
    """The tests above can fail: ONNX Runtime alone, its variable unset, writes to the home."""
    watch.run(sys.executable, "-c", RUNTIME_ALONE, PRETRAINED, 0)
    talks = watch.left("home")
    if not talks:
        import onnxruntime

        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} has no telemetry here")
    assert all(name.startswith(".cache/Microsoft/") for name in talks)


@pytest.mark.timeout(120)
def test_the_watch_sees_sockets_and_files(watch):
    code = (
        "import socket, pathlib, sys\n"
        "pathlib.Path(sys.argv[1]).write_text('x')\n"
        "for call, *given in ((socket.create_connection, ('127.0.0.1', 9)), (socket.getaddrinfo, 'a.example', 1)):\n"
        "    try: call(*given)\n"
        "    except PermissionError: pass\n"
    )
    place = watch.root.parent / f"{watch.root.name}-elsewhere"
    watch.run(sys.executable, "-P", "-c", code, place)
    assert len(watch.noted("network")) == 2
    assert place.exists()
    watch.root = watch.places["work"]
    assert str(place) in watch.written_elsewhere()


def test_variables_are_set_before_anything_is_imported():
    code = (
        "import sys, os\n"
        "before = set(sys.modules)\n"
        "import hilum\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('hilum')))\n"
        "print(all(os.environ[key] == value for key, value in hilum.SILENT.items()))"
    )
    unset = {key: value for key, value in os.environ.items() if key not in hilum.SILENT}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unset)
    assert result.stdout.splitlines() == ["[]", "True"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_train_audit_export_and_predict_ask_nobody(watch):
    """In a network namespace that answers every question, long enough for telemetry to be sent, or without sockets."""
    try:
        enter, asked = namespace(watch.root)
    except pytest.skip.Exception:
        enter, asked = [], watch.log
        asked.touch()
    plain = {"PYTHONPATH": str(SOURCE)}  # what listens may use sockets
    script = watch.root / "commands.py"
    script.write_text(COMMANDS)
    inside = ["env", f"PYTHONPATH={watch.environment['PYTHONPATH']}", sys.executable, script]
    watch.run(*enter, *inside, WAIT=str(WAIT) if enter else "0", **plain)
    assert not enter or asked.read_text() == ""
    assert watch.noted("network") == []
    assert watch.written_elsewhere() == set()
    foreign = {name for name in watch.left("home") if not name.startswith(".cache/hilum/")}
    assert all(name.startswith(FOREIGN) for name in foreign), foreign
    assert all(name.startswith(TEMPORARY) for name in watch.left("tmp")), watch.left("tmp")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_loggers_ask_nobody_and_write_to_the_run_alone(watch):
    """wandb talks to a process of its own, over a socket of this machine: who listens outside of it hears nothing."""
    for name in ("tensorboard", "mlflow", "wandb"):
        pytest.importorskip(name)
    enter, asked = namespace(watch.root)
    few = ["network.options.width=4", "network.options.blocks=[1,1]", "preprocessing.size=32", "training.epochs=1"]
    words = [part for item in few for part in ("--set", item)]
    words += [part for name in ("tensorboard", "mlflow", "wandb") for part in ("--logger", name)]
    command = [sys.executable, "-m", "hilum", "train", "data", "--out", "run", *words]
    watch.run(*enter, *command, PYTHONPATH=str(SOURCE))
    assert asked.read_text() == ""
    logs = watch.places["work"] / "run" / "logs"
    assert all(any((logs / name).rglob("*")) for name in ("tensorboard", "mlflow", "wandb"))
    assert all(name.startswith((*FOREIGN, ".cache/hilum/")) for name in watch.left("home")), watch.left("home")
    assert all(name.startswith(TEMPORARY) for name in watch.left("tmp")), watch.left("tmp")
    assert {name for name in watch.left("work") if not name.startswith(("data/", "run/"))} == set()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_listener_hears_onnx_runtime_when_nobody_silences_it(watch):
    enter, asked = namespace(watch.root)
    watch.run(*enter, sys.executable, "-c", RUNTIME_ALONE, PRETRAINED, WAIT, PYTHONPATH="")
    if not watch.left("home"):
        pytest.skip("this ONNX Runtime has no telemetry here")
    assert "microsoft" in asked.read_text()
    (watch.root / "silent").mkdir()
    silent = Watch(watch.root / "silent")
    asked.write_text("")
    silent.run(*enter, sys.executable, "-c", RUNTIME_ALONE, PRETRAINED, WAIT, PYTHONPATH="", **hilum.SILENT)
    assert asked.read_text() == ""
    assert silent.left("home") == set()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_asks_nobody_and_leaves_nothing(watch):
    """Its own processes talk to each other; alone, it asks in which cloud it is, its statistics switched off or on."""
    pytest.importorskip("ray")
    enter, asked = namespace(watch.root)
    with tempfile.TemporaryDirectory(prefix="hilum-") as short:  # sockets have to have short names
        watch.environment["TMPDIR"] = short
        words = ["predict", "data", "--parquet", "answers", "--engine", "ray", "--threads", "1"]
        watch.run(*enter, sys.executable, "-m", "hilum", *words, PYTHONPATH=str(SOURCE))
        assert asked.read_text() == ""
        assert list(Path(short).iterdir()) == []
        assert watch.left("home") == set()
        assert any((watch.places["work"] / "answers").glob("part-*"))
        watch.run(*enter, sys.executable, "-c", RAY_ALONE, 5, RAY_USAGE_STATS_ENABLED="0", PYTHONPATH="")
    assert "metadata" in asked.read_text()
