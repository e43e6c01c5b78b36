"""What hilum is made of, and what its source never does."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # supply_chain/ is not part of the package

from supply_chain.pinned import accepted, installed, licence, pinned  # noqa: E402
from supply_chain.sbom import bill  # noqa: E402
from supply_chain.vulnerabilities import NONE, SOME, UNKNOWN, verdict  # noqa: E402

SOURCE = ROOT / "src" / "hilum"
FILES = sorted(SOURCE.rglob("*.py"))
NETWORK = {
    "aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "imaplib", "requests", "smtplib", "socket", "socketserver",
    "ssl", "telnetlib", "urllib3", "webbrowser", "xmlrpc",
}  # fmt: skip
PICKLES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Only here: pickles over the pipes of processes that hilum itself has started, the hub that the user has named, the
# address at which `hilum serve` listens, the peers that a node's configuration names, and the cluster of `--address`.
ALLOWED = {
    "pickle": {"data/process_pool.py"},
    "huggingface_hub": {"serving/predictor.py"},
    "socket": {"ray_engine.py", "serving/http/server.py", "serving/node/dimse_channel.py"},
    "ssl": {"serving/node/application.py"},
    "socketserver": {"serving/node/operations.py"},
    "requests": {"serving/node/web_channel.py"},
    "torch.load": {"models/weight_files.py"},  # with weights_only=True: the one reader of PyTorch's own files
}
UNSAFE_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "torch.load", "torch.jit.load",
    "torch.hub.load", "yaml.load", "pandas.read_pickle", "onnx.load_external_data_for_model",
}  # fmt: skip


def dotted(node):
    """``a.b.c`` of such an expression; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner else ""


def narrows_a_type(test):
    """``x is not None``, ``isinstance(x, T)`` and a bare ``x``: what a type checker asks for, and no condition."""
    if isinstance(test, ast.Compare):
        nothing = test.comparators[0]
        return isinstance(test.ops[0], ast.IsNot) and isinstance(nothing, ast.Constant) and nothing.value is None
    if isinstance(test, ast.Call):
        return dotted(test.func) == "isinstance"
    return bool(dotted(test))


def weights_only(call):
    """Whether a call says that nothing but tensors may be read."""
    stated = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
    return any(isinstance(value, ast.Constant) and value.value is True for value in stated)


def offences(source, place):
    """What one file does that none may do."""
    names = {}  # what a name in the file stands for
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for item in node.names:
                whole = f"{module}.{item.name}" if module else item.name
                names[item.asname or item.name.partition(".")[0]] = (
                    whole if item.asname or module else whole.split(".")[0]
                )
                root = whole.split(".")[0]
                if root in NETWORK | PICKLES and place not in ALLOWED.get(root, ()):
                    yield f"imports {root}"
                if whole.startswith(("urllib.request", "multiprocessing.connection", "torch.hub", "sklearn.datasets")):
                    yield f"imports {whole}"
                if root == "yaml":
                    yield "imports yaml"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            first, _, rest = called.partition(".")
            called = ".".join(filter(None, [names.get(first, first), rest]))
            if called in UNSAFE_CALLS and not (
                called == "torch.load" and place in ALLOWED[called] and weights_only(node)
            ):
                yield f"calls {called}"
            for keyword in node.keywords:
                told = keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
                if keyword.arg in ("shell", "allow_pickle", "pretrained") and told is not False:
                    yield f"{called}({keyword.arg}=...)"
                if keyword.arg == "weights_only" and told is not True:
                    yield f"{called}(weights_only=...)"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.match(r"(/tmp|/var/tmp|/dev/shm)\b", node.value):
                yield f"names {node.value}"
        elif isinstance(node, ast.Assert) and not narrows_a_type(node.test):
            yield f"asserts a condition in line {node.lineno}, which python -O leaves out"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_does_what_a_foreign_file_could_use(path):
    assert not list(offences(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix()))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "import urllib.request",
        "from urllib import request as r",
        "import socket",
        "from huggingface_hub import hf_hub_download",
        "import yaml",
        "eval('1')",
        "exec(x)",
        "import os\nos.system('ls')",
        "from os import popen as p\np('ls')",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import torch\ntorch.load(f)",
        "import torch as t\nt.load(f, weights_only=False)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import tempfile\ntempfile.mktemp()",
        "open('/tmp/hilum.log', 'w')",
        "assert len(x) < 5",
        "assert user.is_admin()",
        "assert x == 3, 'no'",
    ],
)
def test_each_of_them_would_be_found(source):
    assert list(offences(source, "serving/x.py"))


def test_pytorchs_files_are_read_in_one_place_and_without_code():
    safe, place = "import torch\ntorch.load(f, weights_only=True)", "models/weight_files.py"
    assert not list(offences(safe, place))
    assert list(offences(safe, "serving/x.py"))
    assert list(offences("import torch\ntorch.load(f)", place))
    assert list(offences("import torch\ntorch.load(f, weights_only=flag)", place))


def test_what_narrows_a_type_is_no_offence():
    types = "assert x is not None\nassert isinstance(x, int)\nassert self.process.stdin\n"
    assert not list(offences(types + "import tempfile, re\nre.compile('a')", "x.py"))


def test_every_pinned_distribution_has_a_licence_that_is_accepted():
    found = {
        name: licence(part)
        for name, version in pinned().items()
        if (part := installed(name)) and part.version.partition("+")[0] == version.partition("+")[0]
    }
    assert len(found) > 50
    assert not {name: stated for name, stated in found.items() if not accepted(stated)}


def test_licences_are_read_as_spdx_reads_them():
    assert all(map(accepted, ["MIT", "MIT AND (Apache-2.0 OR BSD-2-Clause)", "Apache-2.0 WITH LLVM-exception"]))
    assert not any(map(accepted, ["", "GPL-3.0-only", "MIT AND LGPL-2.1-or-later", "Proprietary", "MIT OR AGPL-3.0"]))


def test_what_is_installed_is_what_is_pinned():
    from packaging.version import Version

    chosen = ROOT / os.environ.get("CONSTRAINTS", "constraints.txt")  # hosted CI also takes the lowest
    other = {
        name: part.version
        for name, version in pinned(chosen).items()
        if (part := installed(name)) and Version(part.version).public != Version(version).public
    }
    assert not other


def test_the_bill_of_materials_lists_every_pinned_distribution_once():
    found = bill()
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["name"]: part["version"] for part in found["components"]} == pinned()
    references = [part["bom-ref"] for part in found["components"]]
    assert len(set(references)) == len(references)
    known = {*references, found["metadata"]["component"]["bom-ref"]}
    for item in found["dependencies"]:
        assert {item["ref"], *item["dependsOn"]} <= known
    of_hilum = next(item["dependsOn"] for item in found["dependencies"] if item["ref"].startswith("pkg:pypi/hilum@"))
    assert any(url.startswith("pkg:pypi/onnxruntime@") for url in of_hilum)
    assert bill() == found


def test_the_bill_of_materials_is_written(tmp_path):
    target = tmp_path / "new" / "sbom.json"
    subprocess.run([sys.executable, "-m", "supply_chain.sbom", str(target)], cwd=ROOT, check=True)
    assert json.loads(target.read_text()) == bill()


def test_a_database_that_was_not_reached_is_no_good_news():
    good = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    assert [verdict(parts)[0] for parts in ([good], [good, bad], [good, skipped], [bad, skipped], [])] == [
        NONE, SOME, UNKNOWN, SOME, UNKNOWN,
    ]  # fmt: skip
    assert "CVE-1" in verdict([bad])[1][0]
