"""A model file: one ``.onnx`` that holds everything to decide about a radiograph."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.images import SCHEME, reduce, stacked
from hilum.decision.operating_point import OperatingPoint
from hilum.earlier import current
from hilum.errors import ModelFileError
from hilum.files import TooLargeError, read_whole
from hilum.serving.metadata import LONGEST, Metadata
from hilum.serving.onnx_file import GraphError, check_graph, read_metadata
from hilum.text import printable

FORMAT = 2  # raise it when an older hilum would misread what is written
FORMAT_OF_FINDINGS = 3  # probabilities of findings do not sum to 1, which format 2 demands
FORMAT_OF_VIEWS = 4  # images are (B, V, S, S): one for each preprocessing of an ensemble
READABLE = (
    1,
    FORMAT,
    FORMAT_OF_FINDINGS,
    FORMAT_OF_VIEWS,
)  # of format 1, which knew one threshold, decisions are the same
LARGEST = 2**31 - 1  # of a protobuf message, and so of every ONNX file without companions
MOST_DECIMALS = 8  # of a probability in percent
PRETRAINED = Path(__file__).parent / "models"
OF_CHILDREN, OF_ADULTS = "paediatric-pneumonia", "adult-pneumonia"  # the first one where none is named


@dataclass(frozen=True)
class ModelFile:
    """An opened model file; its hash was checked.

    Attributes:
        sha256: Of the whole file, as ``sha256sum`` prints it.
        facts: All of its metadata, as they were written (``docs/reference/model_file.md``).
        model: The file's bytes, which are an ONNX model.
        graph: SHA-256 of all in it that is run (`hilum.serving.onnx_file.check_graph`).
        source: What messages call it, the file where there is one.
        metadata: What serving reads of `facts`.
    """

    sha256: str
    facts: Mapping[str, object]
    model: bytes
    graph: str
    source: str = "model_file"
    metadata: Metadata = field(init=False)

    def __post_init__(self) -> None:
        """Read the metadata.

        Raises:
            ModelFileError: An entry is missing, or of a type or value that cannot be.
        """
        object.__setattr__(self, "metadata", Metadata.of(self.facts, self.source))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.metadata.name

    @property
    def labels(self) -> tuple[str, ...]:
        """K labels in the order of the probabilities."""
        return self.metadata.labels

    @cached_property
    def label_name(self) -> Mapping[str, str]:
        """What each label is called before people; the label itself where nothing else was said."""
        return {label: self.metadata.label_name.get(label, label) for label in self.labels}

    @cached_property
    def short(self) -> Mapping[str, str]:
        """A heading for each label: its display name without what follows in brackets, or the label's last part.

        Where two would be the same, both are whole.
        """
        found = {label: _short(label, self.label_name[label]) for label in self.labels}
        uses = Counter(found.values())
        return {label: name if uses[name] == 1 else self.label_name[label] for label, name in found.items()}

    @cached_property
    def point(self) -> OperatingPoint | None:
        """From where on an image is flagged; None where nobody has certified the model."""
        found = self.metadata.operating_point
        return found.point if found else None

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings, of which an image may have several, in the order of the probabilities; empty for labels."""
        return self.labels if self.metadata.task == "findings" else ()

    @cached_property
    def points(self) -> Mapping[str, OperatingPoint]:
        """From where on an image is flagged for each finding; without those that nobody has certified."""
        return {name: found.point for name, found in self.metadata.operating_points.items()}

    @cached_property
    def group(self) -> str:
        """What the operating point flags, in words (see `short`); empty where there is none."""
        return " or ".join(self.short[label] for label in self.point.members) if self.point else ""

    def percent(self, probability: float) -> str:
        """A probability as all answers of this model show it, with decimals enough for three digits of its thresholds.

        Args:
            probability: 0 to 1.
        """
        return f"{100 * probability:.{self.decimals}f} %"

    @cached_property
    def decimals(self) -> int:
        """Number of decimals of `percent`: no threshold is shown as 0 or 100 %."""
        points = [self.point] if self.point else self.points.values()
        inside = [value for point in points for value in point.thresholds if 0 < value < 1]
        from_zero = [2 - floor(log10(100 * value)) for value in inside]
        from_one = [1 - floor(log10(100 - 100 * value)) for value in inside]
        return min(max([1, *from_zero, *from_one]), MOST_DECIMALS)

    @cached_property
    def data_errors(self) -> tuple[str, ...]:
        """Errors that the audit found in the training data: what rests on these data is wrong or misleads."""
        found: Any = self.facts
        for key in ("provenance", "data", "findings"):
            found = found.get(key) if isinstance(found, dict) else None
        findings = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return tuple(str(one.get("message", ""))[:LONGEST] for one in findings if one.get("severity") == "error")

    @property
    def positive_label(self) -> str | None:
        """The label that must not be missed."""
        return self.metadata.positive_label

    @property
    def healthy(self) -> tuple[str, ...]:
        """The labels that mean that nothing was found."""
        return self.metadata.healthy

    @property
    def size(self) -> int:
        """Side of the network's input in pixels."""
        return self.metadata.preprocessing.size

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the network's input for one image: (size, size), or (V, size, size) of V preprocessings."""
        views = self.metadata.preprocessing.views
        return (len(views), self.size, self.size) if views else (self.size, self.size)

    def reduce(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The network's input, bytes of `shape`, of an image (H, W) between 0 and 1."""
        how = self.metadata.preprocessing
        made = [reduce(pixels, view.size, view.fit, view.equalise) for view in how.views or (how,)]
        return stacked(made) if how.views else made[0]

    @cached_property
    def maps(self) -> tuple[tuple[str, str], ...]:
        """Decision and child that each channel of the output ``maps`` speaks for; empty where there is none."""
        return tuple((channel.decision, channel.child) for channel in self.metadata.maps)


def _short(label: str, label_name: str) -> str:
    if label_name == label:
        return label.rsplit("/", 1)[-1]
    return label_name.partition(" (")[0] if label_name.endswith(")") else label_name


def open_model_file(source: Path | bytes, name: str = "") -> ModelFile:
    """Read a model file and check that it is whole.

    Args:
        source: A file, a folder that holds ``model.onnx``, or the bytes of a file.
        name: What messages call bytes.

    Raises:
        ModelFileError: It is missing, no model file, damaged, of a format that this version does not know, its
            metadata make no sense, or its graph holds what no network needs.
    """
    name = name or (str(source) if isinstance(source, Path) else "the model file")
    content = _read(source, name) if isinstance(source, Path) else source
    facts = current(read_metadata(content, name))
    preprocessing = facts.get("preprocessing")
    scheme = preprocessing.get("scheme") if isinstance(preprocessing, dict) else None
    if facts.get("format") not in READABLE or scheme != SCHEME:
        msg = (
            f"{name}: a model file of format {_shown(facts.get('format'))}, made by hilum "
            f"{_shown(facts.get('hilum'))}; "
            f"this version reads the formats {', '.join(map(str, READABLE))}. Export it again, or install that version."
        )
        raise ModelFileError(msg, code="other-format")
    try:
        graph = check_graph(content)
    except GraphError as error:
        msg = f"{name}: a model file whose graph is refused: it holds {printable(str(error))}. Export it again."
        raise ModelFileError(msg, code="refused-graph") from error
    return ModelFile(hashlib.sha256(content).hexdigest(), facts, content, graph, name)


def _shown(value: object) -> str:
    """What a foreign file says of itself, safe and short."""
    return printable(str(value)[:40])


def shipped_models() -> dict[str, Path]:
    """The models that come with hilum, by name; empty where this copy comes without any."""
    return {file.stem: file for file in sorted(PRETRAINED.glob("*.onnx"))}


def shipped_model(name: str = OF_CHILDREN) -> Path:
    """A model that comes with hilum.

    Raises:
        ModelFileError: This copy of hilum comes without it.
    """
    found = shipped_models().get(name)
    if not found:
        msg = (
            f"this copy of hilum has no pretrained model '{name}'. Export one (hilum export RUN model.onnx), and name "
            "it (--model)."
        )
        raise ModelFileError(msg, code="no-model")
    return found


def named_model(name: str | Path, beside: str | Path = "") -> Path:
    """The file that a user names: a model that comes with hilum where no file or folder of that name holds one.

    Args:
        name: What the user wrote.
        beside: The folder in which a relative name begins; by default the working folder.

    Raises:
        ModelFileError: The name is empty.
    """
    if not str(name):
        msg = f"the name of the model is empty. Name a model file, or one of {', '.join(shipped_models())}."
        raise ModelFileError(msg, code="malformed-name")
    file = os.path.join(beside, name)  # noqa: PTH118 - any text
    there = os.path.isfile(file) or os.path.isfile(os.path.join(file, "model.onnx"))  # noqa: PTH113, PTH118
    return Path(file) if there else shipped_models().get(str(name), Path(file))


def _read(path: Path, name: str) -> bytes:
    file = path / "model.onnx" if path.is_dir() else path
    try:
        return read_whole(file, LARGEST)
    except FileNotFoundError as error:
        what = "a folder without model.onnx" if path.is_dir() else "no such file"
        models = ", ".join(shipped_models()) or "none"
        msg = f"{name}: {what}. Pretrained models: {models}. Create a model file with: hilum export RUN model.onnx"
        raise ModelFileError(msg, code="missing", path=path) from error
    except TooLargeError as error:
        msg = f"{name}: larger than the limit of ONNX files, not a model file. Name a file of hilum export."
        raise ModelFileError(msg) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        msg = f"{name}: cannot be read ({why}). Check the name, the disk and the permissions."
        raise ModelFileError(msg) from error
