"""What the metadata of a model file hold, as frozen records: all that a prediction is made by.

A file may be anybody's: types are exact (no text counts as a number), and each value has a range. What only people
read is passed over.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilum.data.images import MOST_PIXELS_OF_VIEWS, MOST_VIEWS
from hilum.decision.ood import ARRAYS, SIDE, Reference
from hilum.decision.operating_point import OperatingPoint, members_of
from hilum.errors import ModelFileError
from hilum.text import printable

LARGEST_SIDE = 2048  # as a recipe's
LONGEST = 1000  # letters of a name or label
MOST_LABELS = 1000
SHOWN = 20
LARGEST = 1e6  # features have length 1, distances are at most 4; float32 squares of these are numbers still
MOST_NEIGHBOURS = 10_000
FLOATS = ("float16", "float32", "float64")
TYPES = {"features": FLOATS, "layouts": ("uint8",), "feature_distances": FLOATS, "layout_distances": FLOATS}
DIMENSIONS = {"features": 2, "layouts": 2, "feature_distances": 1, "layout_distances": 1}

IN_JSON = {  # what Python calls otherwise
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "tuple_type": "should be a list",
    "string_type": "should be a text",
    "string_unicode": "should be a text in UTF-8",
}


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        msg = "should be texts that are all different"
        raise ValueError(msg)
    return names


Text = Annotated[str, Field(min_length=1, max_length=LONGEST)]
MaybeText = Annotated[str, Field(max_length=LONGEST)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]  # of JSON, which has lists alone
Labels = Annotated[Texts, Field(min_length=2, max_length=MOST_LABELS), AfterValidator(_different)]
Members = Annotated[Texts, Field(min_length=1), AfterValidator(_different)]
Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Places = Annotated[tuple[Whole, ...], Field(strict=False, min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Branch(_Part):
    """A decision of a cascade: what it decides between, and the places of each child's labels."""

    decision: MaybeText
    children: Labels
    members: Annotated[tuple[Places, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.members) != len(self.children):
            msg = "'members' should be a list of labels' numbers for each child"
            raise ValueError(msg)
        return self


class MapChannel(_Part):
    """What a channel of the output ``maps`` speaks for."""

    decision: str
    child: str


class Reduction(_Part):
    """How an image becomes the network's input (`hilum.data.images.reduce`)."""

    size: Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
    fit: Literal["stretch", "pad", "crop"]
    equalise: bool


class Reductions(Reduction):
    """How an image becomes the network's input; `views` where the input has several parts, the largest first."""

    views: Annotated[tuple[Reduction, ...], Field(strict=False, max_length=MOST_VIEWS)] = ()

    @model_validator(mode="after")
    def _largest_first(self) -> Self:
        sizes = [view.size for view in self.views]
        _demand(sizes == sorted(sizes, reverse=True), "'views' should begin with the largest")
        _demand(not sizes or sizes[0] == self.size, "'size' should be that of the largest of 'views'")
        fits = len(sizes) * self.size**2 <= MOST_PIXELS_OF_VIEWS
        _demand(fits, f"'views' should have at most {MOST_PIXELS_OF_VIEWS:,} pixels together")
        return self


class NetworkInput(_Part):
    """The input of the graph."""

    name: Text


class Thresholds(_Part):
    """The operating point, of format 1 with one threshold."""

    group: Text
    members: Members
    threshold: float
    upper_threshold: float | None = None
    image_threshold: float | None = None

    @property
    def point(self) -> OperatingPoint:
        """As decisions use it."""
        return OperatingPoint(self.group, self.members, self.threshold, self.upper_threshold, self.image_threshold)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _ = self.point  # which refuses thresholds that are not
        return self


class GuaranteedUpper(_Part):
    """What a certificate guarantees of those who are flagged."""

    kind: Literal["specificity", "ppv"]
    bound: Share
    prevalence: Share | None = None

    @model_validator(mode="after")
    def _at_a_prevalence(self) -> Self:
        if (self.kind == "ppv") != (self.prevalence is not None):
            msg = "'prevalence' should be there for a PPV, and null for a specificity"
            raise ValueError(msg)
        return self


class ImageCounts(_Part):
    """How many images the calibration patients had: mean, largest, and patients by number."""

    mean: float
    max: Whole
    distribution: dict[Count, Annotated[int, Field(gt=0, lt=2**63)]]

    @property
    def patients(self) -> dict[int, int]:
        """Number of patients by number of images."""
        return {int(size): count for size, count in self.distribution.items()}


class ServedCertificate(_Part):
    """What a legend tells of the certificate; of format 1 without the number of images."""

    false_negative_rate: Share
    confidence: Share
    upper: GuaranteedUpper | None = None
    images: ImageCounts | None = None
    image_threshold: float | None = None


class PackedArray(_Part):
    """An array as JSON can hold it: its little-endian bytes as base64."""

    type: str
    shape: Annotated[tuple[Whole, ...], Field(strict=False)]
    data: str

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """Pack an array."""
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        data = b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
        return cls(type=array.dtype.name, shape=array.shape, data=data)

    def array(self, name: str) -> NDArray[Any]:
        """The array called `name` in a reference.

        Raises:
            ValueError: It is of a type or shape that such an array does not have, or holds what is no number.
        """
        if self.type not in TYPES[name]:
            msg = f"{name} should be of type {' or '.join(TYPES[name])}"
            raise ValueError(msg)
        content = np.frombuffer(b64decode(self.data, validate=True), np.dtype(self.type).newbyteorder("<"))
        if len(self.shape) != DIMENSIONS[name] or not all(side > 0 for side in self.shape):
            msg = f"{name} should have {DIMENSIONS[name]} dimensions, none of them empty"
            raise ValueError(msg)
        array = content.reshape(self.shape)
        if not comparable(array).all():
            msg = f"{name} holds a value that is not a number, or is above {LARGEST:g}"
            raise ValueError(msg)
        return array


class PackedArrays(_Part):
    """The arrays of a reference (`hilum.decision.ood.Reference`)."""

    features: PackedArray
    layouts: PackedArray
    feature_distances: PackedArray
    layout_distances: PackedArray


class PackedReference(_Part):
    """The reference of the OOD detector as a model file carries it."""

    neighbours: Annotated[int, Field(ge=1, le=MOST_NEIGHBOURS)]
    level: Share
    boundary: Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
    wrong: Annotated[tuple[Annotated[int, Field(ge=0, le=15)], ...], Field(strict=False)]
    arrays: PackedArrays

    def unpack(self, source: str) -> Reference:
        """The reference.

        Args:
            source: What messages call the model file.

        Raises:
            ModelFileError: An array is not what can be compared with.
        """
        try:
            features, layouts, *distances = (getattr(self.arrays, name).array(name) for name in ARRAYS)
            settings = self.neighbours, self.level, self.boundary, self.wrong
            reference = Reference(features, layouts, distances[0], distances[1], *settings)
            _demand(reference.layouts.shape[1] == SIDE * SIDE, "layouts should have 225 columns")
            _demand(len(distances[0]) == len(distances[1]), "distances should be of the same patients")
            _demand(all((np.diff(values) >= 0).all() for values in distances), "distances should ascend")
        except (ValueError, OverflowError) as error:
            raise ModelFileError(malformed(source, f"abstention: {str(error)[:200]}")) from error
        return reference


class Metadata(_Part):
    """All metadata that serving reads (``docs/reference/model_file.md``).

    Attributes:
        labels: K labels in the order of the probabilities.
        label_name: What labels are called before people, where that differs.
        healthy: The labels that mean that nothing was found.
        tree: What a cascade decides; nothing reads it of a flat network.
        maps: One channel for each child of each decision, or none.
        task: ``findings`` where `labels` are findings, of which an image may have several.
        certificate: None where nothing is promised.
        operating_points: By finding.
        certificates: By finding.
        abstention: None where the file cannot tell what is out-of-distribution.
    """

    hilum: str = ""
    name: Text
    labels: Labels
    label_name: dict[str, MaybeText]
    positive_label: str | None
    healthy: Texts
    hierarchy: Literal["flat", "cascade"]
    tree: Annotated[tuple[Branch, ...], Field(strict=False)]
    preprocessing: Reductions
    input: NetworkInput
    maps: Annotated[tuple[MapChannel, ...], Field(strict=False)]
    operating_point: Thresholds | None
    certificate: ServedCertificate | None = None
    abstention: PackedReference | None
    task: Literal["labels", "findings"] = "labels"
    operating_points: dict[Text, Thresholds] = {}
    certificates: dict[Text, ServedCertificate] = {}

    @classmethod
    def of(cls, entries: Mapping[str, object], source: str) -> Self:
        """Read metadata of a format that this version knows.

        Args:
            entries: As the file holds them.
            source: What messages call it.

        Raises:
            ModelFileError: An entry is missing, or of a type or value that cannot be.
        """
        try:
            return cls.model_validate(entries)
        except ValidationError as error:
            raise ModelFileError(malformed(source, _first_of(error))) from error

    @model_validator(mode="after")
    def _of_one_network(self) -> Self:
        """What one entry says of another has to be so."""
        among = f"among {', '.join(self.labels[:SHOWN])}{', ...' if len(self.labels) > SHOWN else ''}"
        _demand(self.positive_label in (None, *self.labels), f"'positive_label' should be null or {among}")
        _demand(set(self.healthy) <= set(self.labels), f"'healthy' should be {among}")
        places = (place for branch in self.tree for member in branch.members for place in member)
        _demand(all(0 <= place < len(self.labels) for place in places), "'tree' should have the labels' numbers")
        children = {("", label) for label in self.labels}
        if self.hierarchy == "cascade":
            _demand(bool(self.tree), "'tree' should be what the cascade decides")
            children = {(branch.decision, child) for branch in self.tree for child in branch.children}
        named = [(channel.decision, channel.child) for channel in self.maps]
        _demand(set(named) <= children, "'maps' should be children of the decisions")
        _demand(len(named) in (0, len(children)), "'maps' should be one for each child of each decision, or none")
        if point := self.operating_point:
            stands_for = set(members_of(point.group, self.labels))
            _demand(set(point.members) == stands_for, "'members' should be the labels that the group's name stands for")
        self._check_findings(among)
        return self

    def _check_findings(self, among: str) -> None:
        """What is said of single findings, and of labels together, is not said where it would mean nothing."""
        if self.task == "labels":
            _demand(not self.operating_points, "'operating_points' should be those of findings")
            return
        _demand(self.hierarchy == "flat", "'hierarchy' should be flat, as findings have none")
        _demand(self.operating_point is None, "'operating_point' should be null beside 'operating_points' of findings")
        _demand(self.operating_points.keys() <= set(self.labels), f"'operating_points' should be {among}")
        _demand(self.certificates.keys() <= self.operating_points.keys(), "'certificates' should have thresholds")
        for name, point in self.operating_points.items():
            _demand(point.members == (name,), f"'members' of '{name[:SHOWN]}' should be that finding alone")


def comparable(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers can be compared with others: finite, and of a size that distances can be computed from."""
    found: NDArray[np.bool_] = np.abs(array.astype(np.float64)) <= LARGEST  # false for NaN
    return found


def pack(reference: Reference, facts: Mapping[str, object]) -> dict[str, object]:
    """The entry ``abstention`` that `PackedReference` reads.

    Args:
        reference: A run's (see `hilum.decision.ood`).
        facts: What ``abstention.json`` says of it.
    """
    arrays = PackedArrays(**{name: PackedArray.of(np.asarray(getattr(reference, name))) for name in ARRAYS})
    return {**facts, "arrays": arrays.model_dump(mode="json")}


def malformed(source: str, what: str) -> str:
    """The message about metadata that are whole, and yet make no sense."""
    return f"{source}: a model file with unusable metadata ({printable(what)}). Export it again."


def _demand(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _first_of(error: ValidationError) -> str:
    """The first entry that is not as it should be, and how it should be."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(key)[:LONGEST] for key in first["loc"])
    if first["type"] == "missing":
        return f"'{where}' is missing"
    what = IN_JSON.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return what if what.startswith("'") else f"'{where}' {what[what.find('should') :]}"
