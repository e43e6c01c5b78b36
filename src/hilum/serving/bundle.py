"""A bundle: one ``.onnx`` file that holds everything needed to decide about a radiograph."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hilum.data.operating_point import OperatingPoint
from hilum.data.reduction import SCHEME
from hilum.errors import BundleError
from hilum.opening import TooLargeError, read_whole
from hilum.printable import printable
from hilum.serving.metadata import check_metadata
from hilum.serving.operators import GraphError, check_graph
from hilum.serving.seal import unseal

FORMAT = 2  # raise it when an older hilum would misread what is written
READABLE = (1, FORMAT)  # of format 1, which knew one threshold, decisions are the same
LARGEST = 2**31 - 1  # of a protobuf message, and so of every ONNX file without companions
SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; its hash was checked.

    Attributes:
        name: Of the model.
        sha256: Of the whole file, as ``sha256sum`` prints it.
        facts: The metadata as they were written (``docs/bundle.md``).
        model: The file's bytes, which are an ONNX model.
        graph: SHA-256 of all in it that is run (`hilum.serving.operators.check_graph`).
        source: What messages call it, the file where there is one.
    """

    name: str
    sha256: str
    facts: Mapping[str, Any]
    model: bytes
    graph: str
    source: str = "bundle"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """K labels in the order of the probabilities."""
        return tuple(self.facts["labels"])

    @cached_property
    def display(self) -> Mapping[str, str]:
        """What each label is called before people; the label itself where nothing else was said."""
        return {label: self.facts["display"].get(label, label) for label in self.labels}

    @cached_property
    def short(self) -> Mapping[str, str]:
        """A heading for each label: its display name without what follows in brackets, or the label's last part.

        Where two would be the same, both are whole.
        """
        found = {label: _short(label, self.display[label]) for label in self.labels}
        uses = Counter(found.values())
        return {label: name if uses[name] == 1 else self.display[label] for label, name in found.items()}

    @cached_property
    def point(self) -> OperatingPoint | None:
        """From where on an image is flagged; None where nobody has certified the model."""
        facts = self.facts["operating_point"]
        return OperatingPoint.of(facts) if facts else None

    @cached_property
    def group(self) -> str:
        """What the operating point flags, in words (see `short`); empty where there is none."""
        return " or ".join(self.short[label] for label in self.point.members) if self.point else ""

    def percent(self, probability: float) -> str:
        """A probability as all answers of this model show it, with decimals enough for three digits of its threshold.

        Args:
            probability: 0 to 1.
        """
        threshold = self.point.threshold if self.point else 1.0
        decimals = 1 if threshold >= 0.1 else 2 if threshold >= 0.01 else 3
        return f"{100 * probability:.{decimals}f} %"

    @property
    def protected(self) -> str | None:
        """The label that must not be missed."""
        label: str | None = self.facts["protected"]
        return label

    @property
    def healthy(self) -> tuple[str, ...]:
        """The labels that mean that nothing was found."""
        return tuple(self.facts["healthy"])

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """``size``, ``fit`` and ``equalise``, as `hilum.data.reduction.reduce` takes them."""
        return {key: self.facts["preprocessing"][key] for key in ("size", "fit", "equalise")}

    @property
    def size(self) -> int:
        """Side of the network's input in pixels."""
        side: int = self.facts["preprocessing"]["size"]
        return side

    @property
    def maps(self) -> tuple[tuple[str, str], ...]:
        """Decision and child that each channel of the output ``maps`` speaks for; empty where there is none."""
        return tuple((item["decision"], item["child"]) for item in self.facts["maps"])


def _short(label: str, display: str) -> str:
    if display == label:
        return label.rsplit("/", 1)[-1]
    return display.partition(" (")[0] if display.endswith(")") else display


def open_bundle(source: Path | bytes, name: str = "") -> Bundle:
    """Read a bundle and check that it is whole.

    Args:
        source: A file, a folder that holds ``model.onnx``, or the bytes of a file.
        name: What messages call bytes.

    Raises:
        BundleError: It is missing, no bundle, damaged, of a format that this version does not know, its metadata make
            no sense, or its graph holds what no network needs.
    """
    name = name or (str(source) if isinstance(source, Path) else "bundle")
    content = _read(source, name) if isinstance(source, Path) else source
    facts = unseal(content, name)
    preprocessing = facts.get("preprocessing")
    scheme = preprocessing.get("scheme") if isinstance(preprocessing, dict) else None
    if facts.get("format") not in READABLE or scheme != SCHEME:
        msg = (
            f"{name}: a bundle of format {_shown(facts.get('format'))}, made by hilum {_shown(facts.get('hilum'))}; "
            f"this version reads the formats {', '.join(map(str, READABLE))}. Export it anew, or install that version."
        )
        raise BundleError(msg, code="other-format")
    check_metadata(facts, name)
    try:
        graph = check_graph(content)
    except GraphError as error:
        msg = f"{name}: a bundle whose graph is not run, as it holds {printable(str(error))}. Export it anew."
        raise BundleError(msg, code="refused-graph") from error
    return Bundle(facts["name"], hashlib.sha256(content).hexdigest(), facts, content, graph, name)


def _shown(value: object) -> str:
    """What a foreign file says of itself, safe and short."""
    return printable(str(value)[:40])


def shipped_model() -> Path:
    """The model that comes with hilum.

    Raises:
        BundleError: This copy of hilum comes without one.
    """
    found = sorted(SHIPPED.glob("*.onnx"))
    if not found:
        msg = "this copy of hilum comes without a model. Make one (hilum export RUN model.onnx), and name it (--model)."
        raise BundleError(msg, code="no-model")
    return found[0]


def _read(path: Path, name: str) -> bytes:
    file = path / "model.onnx" if path.is_dir() else path
    try:
        return read_whole(file, LARGEST)
    except FileNotFoundError as error:
        what = "a folder without model.onnx" if path.is_dir() else "no such file"
        msg = f"{name}: {what}. Make a bundle with: hilum export RUN model.onnx"
        raise BundleError(msg, code="missing", path=path) from error
    except TooLargeError as error:
        msg = f"{name}: larger than any ONNX file may be; no bundle. Name the file that hilum export has written."
        raise BundleError(msg) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        msg = f"{name}: cannot be read ({why}). Check the name, the disk and the permissions."
        raise BundleError(msg) from error
