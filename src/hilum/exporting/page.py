"""One HTML file that answers without a server: the service's page, a model file, and ONNX Runtime's WebAssembly."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from hilum.decision.ood import FAR, UNFAMILIAR, Reference
from hilum.errors import RunError, UsageError
from hilum.exporting.javascript import bundle
from hilum.files import save_bytes
from hilum.serving.explain import decisions
from hilum.serving.http.description import ModelDescription, describe
from hilum.serving.http.examples import EXAMPLES, make_example
from hilum.serving.metadata import PackedArray, Reduction
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import COLOUR, COLOURFUL, UNCERTIFIED

RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {  # of the files in the package that npm's registry has
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
LARGEST = 2**26  # bytes of one of them
FETCH = f"Fetch it once with npm pack {RUNTIME}@{VERSION}, and name it: --runtime {RUNTIME}-{VERSION}.tgz"
MODULES = (
    *("answer", "app", "viewer", "worklist"),
    *("decoding", "detector", "heatmaps", "network", "offline", "reduction", "triage"),
)


@dataclass(frozen=True)
class Runtime:
    """The two files of onnxruntime-web that a page takes.

    Attributes:
        script: An ES module.
        wasm: The WebAssembly that it starts.
    """

    script: bytes
    wasm: bytes


def read_runtime(source: Path | None) -> Runtime:
    """Read onnxruntime-web, which hilum does not contain.

    Args:
        source: The package as ``npm pack`` gives it, or its folder, such as ``node_modules/onnxruntime-web``.

    Raises:
        UsageError: There is none, or it is not the version whose hash hilum knows.
    """
    if source is None:
        msg = f"--page: takes {RUNTIME}, ONNX Runtime for browsers, which does not come with hilum. {FETCH}"
        raise UsageError(msg, code="no-runtime")
    try:
        found = _of_folder(source) if source.is_dir() else _of_archive(source)
    except (OSError, KeyError, EOFError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or error
        msg = f"--runtime {source}: cannot be read as the package {RUNTIME} ({why}). {FETCH}"
        raise UsageError(msg, code="no-runtime", path=source) from error
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            msg = f"--runtime {source}: {name} is not that of {RUNTIME} {VERSION}. {FETCH}"
            raise UsageError(msg, code="other-runtime", path=source)
    return Runtime(found[SCRIPT], found[WASM])


def _of_folder(folder: Path) -> dict[str, bytes]:
    found = {}
    for name in SHA256:
        with (folder / "dist" / name).open("rb") as file:
            found[name] = file.read(LARGEST)
    return found


def _of_archive(source: Path) -> dict[str, bytes]:
    with tarfile.open(source) as archive:
        found = {}
        for name in SHA256:
            file = archive.extractfile(f"package/dist/{name}")
            found[name] = file.read(LARGEST) if file else b""
        return found


@dataclass(frozen=True)
class Child:
    """What a decision of the network may be for: its labels by number, and whether all of them mean healthy."""

    child: str
    members: tuple[int, ...]
    healthy: bool


@dataclass(frozen=True)
class Node:
    """A decision of the network, as heatmaps are made for it."""

    decision: str
    children: tuple[Child, ...]


@dataclass(frozen=True)
class OODFacts:
    """The OOD detector (`hilum.decision.ood.Reference`), in types that a browser has.

    Attributes:
        columns: Of the features.
        reasons: Why to abstain, in words: ``far`` and ``unfamiliar``.
        arrays: By name.
    """

    neighbours: int
    level: float
    boundary: float
    wrong: tuple[int, ...]
    columns: int
    reasons: Mapping[str, str]
    arrays: Mapping[str, PackedArray]


@dataclass(frozen=True)
class PageFacts:
    """What the page's script knows of its model, beside the ONNX graph (``page/offline.js``).

    Attributes:
        description: As the service gives it.
        reduction: From an image to the network's input.
        input: Name of that input.
        decisions: Of the network.
        maps: Decision and child of each channel of the output ``maps``.
        colourful: Mean chroma beyond which a picture is no radiograph.
        words: Reasons, as `hilum.serving.prediction` has them.
        reference: None where the model cannot tell what is out-of-distribution.
        examples: Simulated radiographs, PNG files as base64.
    """

    description: ModelDescription
    reduction: Reduction
    input: str
    decisions: tuple[Node, ...]
    maps: tuple[tuple[str, str], ...]
    colourful: float
    words: Mapping[str, str]
    reference: OODFacts | None
    examples: tuple[str, ...]


def page_facts(model_file: ModelFile) -> PageFacts:
    """What the page's script has to know of a model.

    Raises:
        ModelFileError: Its OOD reference cannot be used.
    """
    labels, healthy, metadata = model_file.labels, set(model_file.healthy), model_file.metadata
    nodes = (
        Node(
            decision,
            tuple(
                Child(child, tuple(map(labels.index, members)), set(members) <= healthy)
                for child, members in children.items()
            ),
        )
        for decision, children in decisions(model_file).items()
    )
    return PageFacts(
        describe(model_file),
        metadata.preprocessing,
        metadata.input.name,
        tuple(nodes),
        model_file.maps,
        COLOURFUL,
        {"colour": COLOUR, "uncertified": UNCERTIFIED},
        _ood_facts(metadata.abstention.unpack(model_file.source)) if metadata.abstention else None,
        tuple(b64encode(make_example(number)).decode("ascii") for number in range(1, EXAMPLES + 1)),
    )


def _ood_facts(reference: Reference) -> OODFacts:
    arrays: dict[str, NDArray[Any]] = {
        "features": reference.features.astype(np.float32),
        "layouts": reference.layouts,
        "feature_distances": reference.feature_distances.astype(np.float64),
        "layout_distances": reference.layout_distances.astype(np.float64),
    }
    return OODFacts(
        reference.neighbours,
        reference.level,
        reference.boundary,
        reference.wrong,
        reference.features.shape[1],
        {"far": FAR, "unfamiliar": UNFAMILIAR},
        {name: PackedArray.of(array) for name, array in arrays.items()},
    )


def page_modules(runtime: Runtime) -> dict[str, str]:
    """The modules of the page by name, ``service`` being the one that asks nobody."""
    modules = {name: _read(f"{name}.js") for name in MODULES}
    modules["service"] = modules.pop("offline")
    # It asks where it lies, to fetch more from there: it gets all it needs from the page, and may fetch nothing.
    modules["ort"] = runtime.script.decode().replace("import.meta.url", '"https://nowhere.invalid/ort.mjs"')
    return modules


def make_page(model_file: ModelFile, runtime: Runtime) -> bytes:
    """The page as an HTML file; the same model and runtime give the same bytes.

    Its Content Security Policy allows this one script by its hash, and no connection at all.

    Args:
        model_file: Who answers.
        runtime: As `read_runtime` gives it.

    Raises:
        ModelFileError: The model's OOD reference cannot be used.
        UsageError: It answers about several findings, or by members of different preprocessing, which the page cannot.
    """
    if model_file.findings:
        msg = f"{model_file.source}: a page answers about one label an image, not several findings. Use hilum serve."
        raise UsageError(msg, code="page-of-findings")
    if model_file.metadata.preprocessing.views:
        msg = f"{model_file.source}: a page makes one input of an image, not one for each member. Use hilum serve."
        raise UsageError(msg, code="page-of-ensemble")
    script, style = bundle(page_modules(runtime), "app"), _read("style.css")
    policy = (
        f"default-src 'none'; script-src {_source(script)} 'wasm-unsafe-eval'; style-src {_source(style)}; "
        "img-src data: blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    blocks = {
        "facts": TypeAdapter(PageFacts).dump_json(page_facts(model_file)),
        "model": model_file.model,
        "wasm": runtime.wasm,
    }
    icon = f"data:image/svg+xml,{quote(_read('icon.svg'))}"
    changes = {
        '<meta charset="utf-8">': '<meta charset="utf-8">\n'
        f'  <meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        'href="page/icon.svg"': f'href="{icon}"',
        '<link rel="stylesheet" href="page/style.css">': f"<style>{style}</style>",
        '  <script type="module" src="page/app.js"></script>\n': "",
        "</body>": "".join(f"{_block(name, content)}\n" for name, content in blocks.items())
        + f'<script type="module">{script}</script>\n</body>',
    }
    html = _read("index.html")
    for old, new in changes.items():
        if html.count(old) != 1:
            msg = f"index.html holds {old} {html.count(old)} times"
            raise ValueError(msg)
        html = html.replace(old, new)
    return html.encode()


def write_page(out: Path, model_file: ModelFile, runtime: Runtime) -> int:
    """Write the page into a file.

    Returns:
        Its size in bytes.

    Raises:
        ModelFileError: The model's OOD reference cannot be used.
        UsageError: It answers about several findings.
        RunError: It cannot be written.
    """
    content = make_page(model_file, runtime)
    try:
        save_bytes(out, content)
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror}). Choose another place."
        raise RunError(msg) from error
    return len(content)


def _read(name: str) -> str:
    return files("hilum.serving.http").joinpath("page", name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """What allows an inline script or style in a Content Security Policy."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _block(name: str, content: bytes) -> str:
    """Data that the browser does not run."""
    packed = b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
    return f'<script type="application/gzip" id="page-{name}">{packed}</script>'
