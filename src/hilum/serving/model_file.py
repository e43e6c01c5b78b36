"""A model file: one ``.onnx`` that holds everything to decide about a radiograph, and what its metadata have to be."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from hilum.data.images import SCHEME
from hilum.decision.operating_point import OperatingPoint, members_of
from hilum.earlier import current
from hilum.errors import ModelFileError
from hilum.files import TooLargeError, read_whole
from hilum.serving.onnx_file import GraphError, check_graph, unseal
from hilum.text import is_text, printable

LARGEST_SIDE = 2048  # as a recipe's
LONGEST = 1000  # letters of a name or label
MOST_LABELS = 1000
SHOWN = 20
FITS = ("stretch", "pad", "crop")
ARCHITECTURES = ("flat", "cascade")


class _Wrong(Exception):  # noqa: N818 - becomes a `ModelFileError` before it is seen
    """Which entry is not as it should be, and how it should be."""


def check_metadata(facts: Mapping[str, Any], name: str) -> None:
    """Check all that serving reads; what only people read is left as it is.

    Args:
        facts: As they were sealed, of the format that this version knows.
        name: What messages call the model file.

    Raises:
        ModelFileError: An entry is missing, or of a type or value that cannot be.
    """
    try:
        _check(facts)
    except _Wrong as wrong:
        raise ModelFileError(malformed(name, str(wrong))) from wrong


def malformed(name: str, what: str) -> str:
    """The message about metadata that are whole, and yet make no sense."""
    return f"{name}: a model file whose metadata cannot be used ({printable(what)}). Export it anew."


def _check(facts: Mapping[str, Any]) -> None:
    _need(facts, "name", "a text", _is_text)
    labels = _need(facts, "labels", "two texts or more, all different", _are_labels)
    among = f"among {', '.join(labels[:SHOWN])}{', ...' if len(labels) > SHOWN else ''}"
    label_name = _need(facts, "label_name", "texts by label", _is_mapping)
    for label, shown in label_name.items():
        _demand(_is_text(shown) or shown == "", f"display.{label[:LONGEST]}", "a text")
    positive_label = _need(
        facts, "positive_label", f"null or {among}", lambda value: value is None or isinstance(value, str)
    )
    _demand(positive_label is None or positive_label in labels, "positive_label", f"null or {among}")
    _need(facts, "healthy", among, lambda value: _are_texts(value) and set(value) <= set(labels))
    _need(facts, "hierarchy", " or ".join(ARCHITECTURES), lambda value: value in ARCHITECTURES)
    preprocessing = _need(facts, "preprocessing", "an object", _is_mapping)
    _need(preprocessing, "size", f"1 to {LARGEST_SIDE}", lambda value: _is_whole(value) and 1 <= value <= LARGEST_SIDE)
    _need(preprocessing, "fit", " or ".join(FITS), lambda value: value in FITS)
    _need(preprocessing, "equalise", "true or false", lambda value: isinstance(value, bool))
    _need(_need(facts, "input", "an object", _is_mapping), "name", "a text", _is_text)
    children = _children(facts, labels)
    for item in _need(facts, "maps", "a list", lambda value: isinstance(value, list)):
        _demand(_is_mapping(item), "maps", "a list of decision and child")
        pair = item.get("decision"), item.get("child")
        _demand(all(isinstance(part, str) for part in pair) and pair in children, "maps", "children of the decisions")
    _demand(len(facts["maps"]) in (0, len(children)), "maps", "one for each child of each decision, or none")
    point = _need(facts, "operating_point", "null or an object", lambda value: value is None or _is_mapping(value))
    if point is not None:
        _need(point, "group", "a text", _is_text)
        within = f"labels {among}, all different"
        _need(point, "members", within, lambda value: _are_texts(value) and value != [] and set(value) <= set(labels))
        _demand(len(set(point["members"])) == len(point["members"]), "members", within)
        found = members_of(point["group"], labels)
        _demand(set(found) == set(point["members"]), "members", "the labels that the group's name stands for")
        _need(point, "threshold", "a number", _is_number)
        for key in ("upper_threshold", "image_threshold"):  # format 1 has neither
            _demand(point.get(key) is None or _is_number(point[key]), key, "null or a number")
        try:
            OperatingPoint.of(point)
        except ValueError as error:
            raise _Wrong(str(error)) from error
    if (certificate := facts.get("certificate")) is not None:  # of which a legend tells how sure a clearance is
        _demand(_is_mapping(certificate), "certificate", "null or an object")
        for key in ("false_negative_rate", "confidence"):
            _need(certificate, key, "a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
        _certificate(certificate)
    _need(facts, "abstention", "null or an object", lambda value: value is None or _is_mapping(value))


def _certificate(certificate: Mapping[str, Any]) -> None:
    """What a legend tells of two thresholds and of the number of images; format 1 has neither."""
    if (upper := certificate.get("upper")) is not None:
        _demand(_is_mapping(upper), "upper", "null or an object")
        kind = _need(upper, "kind", "specificity or ppv", lambda value: value in ("specificity", "ppv"))
        for key in ("bound", *(["prevalence"] if kind == "ppv" else [])):
            _need(upper, key, "a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
    if (images := certificate.get("images")) is not None:
        _demand(_is_mapping(images), "images", "null or an object")
        _need(images, "mean", "a number", _is_number)
        _need(images, "max", "a whole number", _is_whole)
        sizes = _need(images, "distribution", "an object", _is_mapping)
        counted = all(size.isdecimal() and len(size) < 10 and _is_whole(n) and n > 0 for size, n in sizes.items())
        _demand(counted, "distribution", "counts by number of images")


def _children(facts: Mapping[str, Any], labels: list[str]) -> set[tuple[str, str]]:
    """Decision and child of all that the network decides, after a look at the tree."""
    tree = _need(facts, "tree", "a list", lambda value: isinstance(value, list))
    whole = "decisions with children and their labels' numbers"
    found: set[tuple[str, str]] = set()
    for branch in tree:
        _demand(_is_mapping(branch), "tree", whole)
        decision = _need(branch, "decision", "a text", lambda value: value == "" or _is_text(value))
        names = _need(branch, "children", "two texts or more, all different", _are_labels)
        members = _need(branch, "members", "lists of labels' numbers", lambda value: isinstance(value, list))
        _demand(len(members) == len(names), "tree", whole)
        for numbers in members:
            inside = isinstance(numbers, list) and numbers != [] and all(_is_whole(k) for k in numbers)
            _demand(inside and all(0 <= k < len(labels) for k in numbers), "members", "lists of labels' numbers")
        found |= {(decision, child) for child in names}
    if facts["hierarchy"] == "flat":
        return {("", label) for label in labels}
    _demand(bool(tree), "tree", whole)
    return found


def _need(facts: Mapping[str, Any], key: str, expected: str, fits: Callable[[Any], bool]) -> Any:
    if key not in facts:
        msg = f"'{key}' is missing"
        raise _Wrong(msg)
    _demand(fits(facts[key]), key, expected)
    return facts[key]


def _demand(fits: bool, key: str, expected: str) -> None:
    if not fits:
        msg = f"'{key}' should be {expected}"
        raise _Wrong(msg)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST and is_text(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _are_labels(value: Any) -> bool:
    return _are_texts(value) and 2 <= len(value) <= MOST_LABELS and len(set(value)) == len(value)


def _is_whole(value: Any) -> bool:
    # An integer of JSON may have any number of digits, and then no float.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and isfinite(value))


FORMAT = 2  # raise it when an older hilum would misread what is written
READABLE = (1, FORMAT)  # of format 1, which knew one threshold, decisions are the same
LARGEST = 2**31 - 1  # of a protobuf message, and so of every ONNX file without companions
PRETRAINED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ModelFile:
    """An opened model file; its hash was checked.

    Attributes:
        name: Of the model.
        sha256: Of the whole file, as ``sha256sum`` prints it.
        facts: The metadata as they were written (``docs/reference/model_file.md``).
        model: The file's bytes, which are an ONNX model.
        graph: SHA-256 of all in it that is run (`hilum.serving.onnx_file.check_graph`).
        source: What messages call it, the file where there is one.
    """

    name: str
    sha256: str
    facts: Mapping[str, Any]
    model: bytes
    graph: str
    source: str = "model_file"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """K labels in the order of the probabilities."""
        return tuple(self.facts["labels"])

    @cached_property
    def label_name(self) -> Mapping[str, str]:
        """What each label is called before people; the label itself where nothing else was said."""
        return {label: self.facts["label_name"].get(label, label) for label in self.labels}

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
    def positive_label(self) -> str | None:
        """The label that must not be missed."""
        label: str | None = self.facts["positive_label"]
        return label

    @property
    def healthy(self) -> tuple[str, ...]:
        """The labels that mean that nothing was found."""
        return tuple(self.facts["healthy"])

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """``size``, ``fit`` and ``equalise``, as `hilum.data.images.reduce` takes them."""
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
    facts = current(unseal(content, name))
    preprocessing = facts.get("preprocessing")
    scheme = preprocessing.get("scheme") if isinstance(preprocessing, dict) else None
    if facts.get("format") not in READABLE or scheme != SCHEME:
        msg = (
            f"{name}: a model file of format {_shown(facts.get('format'))}, made by hilum "
            f"{_shown(facts.get('hilum'))}; "
            f"this version reads the formats {', '.join(map(str, READABLE))}. Export it anew, or install that version."
        )
        raise ModelFileError(msg, code="other-format")
    check_metadata(facts, name)
    try:
        graph = check_graph(content)
    except GraphError as error:
        msg = f"{name}: a model file whose graph is not run, as it holds {printable(str(error))}. Export it anew."
        raise ModelFileError(msg, code="refused-graph") from error
    return ModelFile(facts["name"], hashlib.sha256(content).hexdigest(), facts, content, graph, name)


def _shown(value: object) -> str:
    """What a foreign file says of itself, safe and short."""
    return printable(str(value)[:40])


def shipped_model() -> Path:
    """The model that comes with hilum.

    Raises:
        ModelFileError: This copy of hilum comes without one.
    """
    found = sorted(PRETRAINED.glob("*.onnx"))
    if not found:
        msg = "this copy of hilum comes without a model. Make one (hilum export RUN model.onnx), and name it (--model)."
        raise ModelFileError(msg, code="no-model")
    return found[0]


def _read(path: Path, name: str) -> bytes:
    file = path / "model.onnx" if path.is_dir() else path
    try:
        return read_whole(file, LARGEST)
    except FileNotFoundError as error:
        what = "a folder without model.onnx" if path.is_dir() else "no such file"
        msg = f"{name}: {what}. Make a model file with: hilum export RUN model.onnx"
        raise ModelFileError(msg, code="missing", path=path) from error
    except TooLargeError as error:
        msg = f"{name}: larger than any ONNX file may be; no model file. Name the file that hilum export has written."
        raise ModelFileError(msg) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        msg = f"{name}: cannot be read ({why}). Check the name, the disk and the permissions."
        raise ModelFileError(msg) from error
