"""The wheel: small, the same each time, and enough to predict in an environment that holds nothing else."""

import hashlib
import json
import subprocess
import sys
import venv
import zipfile
from urllib.request import Request, urlopen

import pytest

from places import ROOT

pytestmark = pytest.mark.slow
LARGEST = 27_000_000  # 19 of them are the model of adults
HEAVY = {"torch", "scipy", "lightning", "monai", "scikit-learn", "matplotlib", "onnx"}


def run(*words, check=True, **options):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=check, **options)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheel, built twice."""
    folders = [tmp_path_factory.mktemp("wheel") for _ in range(2)]
    for folder in folders:
        built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT, check=False)
        if built.returncode:
            pytest.skip(f"the wheel cannot be built without the package index: {built.stderr.strip()[-200:]}")
    return [next(folder.glob("*.whl")) for folder in folders]


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """Install the wheel, with one extra or none, into an environment that holds nothing else; its Python."""

    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=True)

    def install(extra=""):
        python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        what = f"{wheels[0]}[{extra}]" if extra else wheels[0]
        command = (python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", what)
        done = run(*command, check=False)
        if done.returncode:
            pytest.skip(f"the packages cannot be installed here: {done.stderr.strip()[-200:]}")
        return python

    return install


@pytest.fixture(scope="module")
def bare(installed):
    """The Python of an environment that holds the base installation only."""
    return installed()


def test_the_wheel_is_small_typed_and_reproducible(wheels):
    assert len({hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}) == 1
    assert wheels[0].stat().st_size < LARGEST
    names = set(zipfile.ZipFile(wheels[0]).namelist())
    assert {
        "hilum/py.typed",
        *(f"hilum/serving/models/{name}-pneumonia.onnx" for name in ("paediatric", "adult")),
    } <= names
    assert not [name for name in names if name.startswith(("tests", "docs", "studies"))]


def test_the_base_installation_predicts(bare, squares, tmp_path):
    listed = json.loads(run(bare, "-m", "pip", "list", "--format", "json").stdout)
    assert not HEAVY & {package["name"].lower() for package in listed}
    image = next(squares.rglob("*.png"))
    line = run(bare, "-m", "hilum", "predict", image, "--json", "-", cwd=tmp_path).stdout
    assert sum(json.loads(line)["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    code = f"import hilum; print(hilum.load().predict_proba({str(image)!r}).tolist()[0])"
    stated = json.loads(run(bare, "-c", code, cwd=tmp_path).stdout)
    assert stated == pytest.approx(list(json.loads(line)["probabilities"].values()), abs=1e-6)
    run(bare, "-m", "hilum", "env", cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "DATA", "--out", "run"], "train"),
        (["evaluate", "run"], "train"),
        (["summary"], "train"),
        (["demo"], "train"),
        (["audit", "DATA"], "audit"),
        (["evaluate", "--predictions", "x.csv"], "audit"),
        (["predict", "DATA", "--model", "hf://a/b"], "hub"),
    ],
)
def test_what_needs_more_says_how_to_install_it(bare, squares, tmp_path, words, extra):
    words = [str(squares) if word == "DATA" else word for word in words]
    (tmp_path / "run").mkdir()
    (tmp_path / "x.csv").write_text("label,a,b\na,0.5,0.5\nb,0.5,0.5\n")
    done = run(bare, "-m", "hilum", *words, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"pip install 'hilum[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_service_needs_its_extra_alone(installed, squares):
    python = installed("serve")
    service = subprocess.Popen([python, "-m", "hilum", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = service.stderr.readline().split()[0]
        image = next(squares.rglob("*.png")).read_bytes()
        with urlopen(Request(f"{address}v1/predict", image, {"Content-Type": "image/png"}), timeout=60) as answer:
            (found,) = json.load(answer)["predictions"]
        assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        with urlopen(address, timeout=60) as page:
            assert page.headers["Content-Type"].startswith("text/html")
        with urlopen(f"{address}v1/examples/1", timeout=60) as example:
            assert example.read(4)[1:] == b"PNG"
    finally:
        service.terminate()
        service.communicate()
