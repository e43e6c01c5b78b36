"""What the page's file is made of, and what is refused before; this takes no browser and no onnxruntime-web."""

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from html import unescape

import pytest

from hilum.errors import UsageError
from hilum.exporting import page
from hilum.exporting.javascript import bundle
from hilum.serving.model_file import open_model_file, shipped_model

SCRIPT = (
    b"const here = import.meta.url;\nconst session = { here };\nexport{session as InferenceSession,here as default};\n"
)
PARTS = {page.SCRIPT: SCRIPT, page.WASM: b"\0asm"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of onnxruntime-web that is taken for the right one, as a folder and as npm packs it."""
    monkeypatch.setattr(page, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in PARTS.items()})
    folder, archive = tmp_path / "onnxruntime-web", tmp_path / "onnxruntime-web.tgz"
    (folder / "dist").mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as packed:
        for name, content in PARTS.items():
            (folder / "dist" / name).write_bytes(content)
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return folder, archive


def test_the_package_is_read_as_folder_and_as_archive(package):
    assert [page.read_runtime(source) for source in package] == 2 * [page.Runtime(SCRIPT, b"\0asm")]


def test_without_the_package_one_message_says_how_to_get_it(tmp_path, refuses):
    with refuses(UsageError, "no-runtime"):
        page.read_runtime(None)
    for source in (tmp_path / "missing.tgz", tmp_path, tmp_path / "text"):
        (tmp_path / "text").write_text("text")
        with pytest.raises(UsageError) as caught:
            page.read_runtime(source)
        assert (caught.value.code, caught.value.path) == ("no-runtime", source)
        assert str(source) in str(caught.value)


def test_another_version_of_the_package_is_refused(package, monkeypatch, tmp_path):
    (package[0] / "dist" / page.WASM).write_bytes(b"\0asm of another version")
    with pytest.raises(UsageError) as caught:
        page.read_runtime(package[0])
    assert (caught.value.code, caught.value.path) == ("other-runtime", package[0])


def test_the_page_allows_its_own_script_and_no_connection(package):
    model_file = open_model_file(shipped_model())
    made = page.make_page(model_file, page.read_runtime(package[0]))
    assert made == page.make_page(model_file, page.read_runtime(package[1]))
    text = made.decode()
    policy = unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1])
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe-inline" not in policy
    for pattern in (r'<script type="module">(.*?)</script>', r"<style>(.*?)</style>"):
        (found,) = re.findall(pattern, text, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(found.encode()).digest()).decode() in policy
    assert "import.meta" not in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)
    blocks = dict(re.findall(r'<script type="application/gzip" id="page-(\w+)">([^<]*)</script>', text))
    content = {name: gzip.decompress(base64.b64decode(block)) for name, block in blocks.items()}
    assert content.keys() == {"facts", "model", "wasm"}
    assert content["model"] == model_file.model
    facts = json.loads(content["facts"])
    assert [label["label"] for label in facts["description"]["labels"]] == list(model_file.labels)
    assert facts["description"]["sha256"] == model_file.sha256
    assert facts["description"]["threshold"] == model_file.point.threshold


def test_the_command_writes_the_page_of_a_model_file(package, hilum, tmp_path):
    out = tmp_path / "page.html"
    hilum("export", shipped_model(), out, "--page", "--runtime", package[1], check=0)
    assert out.read_bytes() == page.make_page(open_model_file(shipped_model()), page.read_runtime(package[1]))
    hilum("export", shipped_model(), out, "--page", "--runtime", package[1], check=0)  # over its own earlier one


def test_the_command_exports_a_run_first(package, run_of, bundle_of, hilum, tmp_path):
    out = tmp_path / "page.html"
    hilum("export", run_of("flat").path, out, "--page", "--runtime", package[1], "--name", "small", check=0)
    (block,) = re.findall(r'id="page-model">([^<]*)<', out.read_text())
    made = open_model_file(gzip.decompress(base64.b64decode(block)))
    assert made.name == "small"
    assert made.graph == open_model_file(bundle_of("flat")).graph
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["onnxruntime-web.tgz", "page.html"]


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (2, ("{model}", "page.html", "--page")),
        (2, ("{model}", "page.html", "--page", "--runtime", "{package}", "--name", "other")),
        (2, ("{model}", "page.html", "--runtime", "{package}")),
        (2, ("{model}", "notes.txt", "--page", "--runtime", "{package}")),
        (1, ("{model}", "nowhere/page.html", "--page", "--runtime", "{package}")),
        (1, ("run", "page.html", "--page", "--runtime", "{package}")),
    ],
    ids=["no runtime", "other options", "no page", "in the way", "no folder", "no run"],
)
def test_wrong_usage_is_one_message(code, options, package, hilum, tmp_path, monkeypatch, one_message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    shutil.copy(shipped_model(), tmp_path / "model.onnx")
    words = [word.format(model="model.onnx", package="onnxruntime-web") for word in options]
    one_message(hilum("export", *words), code)
    assert (tmp_path / "notes.txt").read_text() == "notes"
    assert not list(tmp_path.glob("*.html"))


def test_modules_of_one_name_for_two_things_do_not_meet():
    modules = {
        "app": 'import { twice, size as length } from "./one.js";\nimport * as two from "./two.js";\nuse(twice, two);',
        "one": "const hidden = 2;\nexport const size = 3;\nexport function twice(x) { return hidden * x; }",
        "two": 'import { twice } from "./one.js";\nconst hidden = twice(4);\nexport async function size() {}',
    }
    script = bundle(modules, "app")
    assert script.index("module_one =") < script.index("module_two =") < script.index("module_app =")
    assert script.count("module_one =") == 1
    assert "const { twice, size: length } = module_one;" in script
    assert not re.search(r"^(?:import|export)\b", script, re.MULTILINE)
    assert "</script" not in bundle({"app": 'const end = "</script>";'}, "app")


@pytest.mark.parametrize(
    "source",
    ['import { a } from "./missing.js";', 'import "./app.js";', "export default 3;", 'const a = "<!--";'],
)
def test_what_the_bundle_does_not_understand_is_an_error(source):
    with pytest.raises(ValueError, match=r"module"):
        bundle({"app": source}, "app")
