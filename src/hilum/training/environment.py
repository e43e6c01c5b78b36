"""What ``environment.json`` says of a run: machine, versions, data and outcome."""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, field_serializer, model_validator

import hilum
from hilum.auditing.findings import KnownIssues, UnreadableFile
from hilum.data.options import ReadOptions
from hilum.data.process_pool import processor_name
from hilum.stats.records import Record


class TrainingData(Record):
    """The dataset of a training.

    Attributes:
        data_argument: The dataset as it was given, as a path; of joined datasets the folder above them.
        joined: What was given, where several datasets were joined.
        read: How it was read; runs of versions before knew no patients from file names.
        root: The folder below which its images lie.
        digest: Of the images and labels; empty until the splits are decided.
        key: By which an audit of the same files is found (`hilum.auditing.findings.dataset_key`).
        n_images: Files, unreadable ones included.
        patients_known: Whether every image's patient is known.
        with_patient: Images whose patient is known.
        unreadable: Files that were left out.
        notes: Remarks in plain words.
    """

    data_argument: str = ""
    joined: list[str] = []
    read: ReadOptions = ReadOptions(patients="none", layout="plain")
    root: str = ""
    digest: str = ""
    key: str = ""
    n_images: int = 0
    patients_known: bool = True
    with_patient: int = 0
    unreadable: list[UnreadableFile] = []
    notes: list[str] = []

    @property
    def arguments(self) -> str:
        """The dataset, or datasets, as words of a command line."""
        return shlex.join(self.joined or [self.data_argument or self.root or "DATA"])

    @model_validator(mode="before")
    @classmethod
    def _without_layouts(cls, values: Any) -> Any:
        """Versions before recognised no layouts, and what they read is read again in the same way."""
        read = values.get("read") if isinstance(values, dict) else None
        if isinstance(read, dict) and "layout" not in read:
            return {**values, "read": {**read, "layout": "plain"}}
        return values

    @field_serializer("read", mode="wrap")
    def _without_unused(self, read: ReadOptions, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Columns of findings and names of labels only where somebody named some."""
        unused = ("finding_columns", "label_map")
        return {key: value for key, value in serialise(read).items() if key not in unused or value}


class InitialWeights(Record):
    """Weights from elsewhere with which a training began.

    Attributes:
        name: Of the run or the file, or ``imagenet``.
        sha256: Of the file.
        origin: On what they were trained, as far as that is known.
        licence: Of the weights; ``unstated`` where nobody stated it.
        loaded: Layers that took them over.
        share: Share of the network's parameters, without its head's, that these have.
        fresh: Layers that began with freshly drawn weights.
        unused: Layers from elsewhere that have no place in the network.
    """

    name: str
    sha256: str
    origin: str = ""
    licence: str = "unstated"
    loaded: int = 0
    share: float = 0.0
    fresh: list[str] = []
    unused: list[str] = []


class BestCheckpoint(Record):
    """The validation that chose the weights."""

    epoch: int
    step: int
    val_loss: float
    val_accuracy: float
    val_false_negatives: int | None = None
    val_auroc: float | None = None


class TriedPenalty(Record):
    """A penalty of a head, and the weighted log loss on images that were left out."""

    penalty: float
    loss: float


class EncoderFacts(Record):
    """The frozen encoder of a run, and its head.

    Attributes:
        name: Of its file.
        sha256: Of the file that was given.
        licence: Of the encoder.
        terms: Further terms of its use.
        pooling: How its output became features.
        features: Numbers of an image.
        penalty: Of the head (`hilum.training.plan.EncoderChoice`).
        penalties: Those that were compared; empty where it was given.
    """

    name: str
    sha256: str
    licence: str
    terms: str = ""
    pooling: list[str]
    features: int
    penalty: float
    penalties: list[TriedPenalty] = []


class EnsembleMember(Record):
    """A run whose weights are part of an ensemble.

    Attributes:
        name: Of the run.
        weights_sha256: Of its weights.
        hilum: The version that trained it.
        initial: Weights from elsewhere with which it began.
        encoder: Its frozen encoder.
    """

    name: str
    weights_sha256: str
    hilum: str = ""
    initial: InitialWeights | None = None
    encoder: EncoderFacts | None = None


class Outcome(Record):
    """What came of a training.

    Attributes:
        seconds: How long it took.
        images_per_second: Speed, without validations.
        data_wait_share: Share of the time in which training waited for data, 0 to 1.
        parameters: Of the network.
        weights_sha256: Of the chosen weights; empty before the end.
        best: The checkpoint that was chosen.
        encoder: The frozen encoder, where there is one.
        members: The runs of which an ensemble was made.
    """

    seconds: float | None = None
    images_per_second: float | None = None
    data_wait_share: float | None = None
    parameters: int | None = None
    weights_sha256: str = ""
    best: BestCheckpoint | None = None
    encoder: EncoderFacts | None = None
    members: list[EnsembleMember] = []


class Machine(Record):
    """Versions and machine of a training; empty where a version before did not say it."""

    hilum: str = ""
    code_sha256: str = ""
    packages_sha256: str = ""
    python: str = ""
    torch: str = ""
    platform: str = ""
    processor: str = ""
    device: str = ""
    precision: str = ""
    threads: int | None = None
    command: str = ""


class Begun(Machine):
    """A training that was begun: ``environment.json`` before its end.

    Attributes:
        started: When, as ISO 8601 has it.
        resumed: When it was continued.
        loggers: Experiment loggers.
        task: ``findings`` where an image may have several; else labels are exclusive.
        labels: Labels or findings, in the order of the network's outputs; None of versions before.
        positive_label: The label that must not be missed; None where there is none.
        healthy: Labels that mean that nothing was found; None of versions before.
        audit: What is known to be wrong with the data.
        data: The dataset.
        initial: Weights from elsewhere with which it began; None where they were freshly drawn.
        devices: Devices a node of its last session; None where it was one.
        nodes: Machines.
        world_size: Processes, all nodes together.
        strategy: Lightning's.
        sync_batchnorm: Whether batch normalisation took its statistics over the batches of all processes.
    """

    started: str = ""
    resumed: str = ""
    loggers: list[str] = []
    task: Literal["labels", "findings"] = "labels"
    labels: list[str] | None = None
    positive_label: str | None = None
    healthy: list[str] | None = None
    audit: KnownIssues | None = None
    data: TrainingData = TrainingData()
    initial: InitialWeights | None = None
    devices: int | None = None
    nodes: int | None = None
    world_size: int | None = None
    strategy: str = ""
    sync_batchnorm: bool | None = None


class Environment(Outcome, Begun):
    """All that ``environment.json`` holds; `files` are the SHA-256 of files of the run."""

    files: dict[str, str] = {}

    @property
    def beginnings(self) -> list[InitialWeights]:
        """Weights from elsewhere with which the run began, or its members did; each file once."""
        found = [self.initial, *(member.initial for member in self.members)]
        return list({one.sha256: one for one in found if one}.values())


def computes_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32, rather than emulating it."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def code_sha256() -> str:
    """Of all of hilum's own modules, so that a run says which code it came from, installed or not."""
    root = Path(hilum.__file__).parent
    total = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        total.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()


def packages_sha256() -> str:
    """Of the names and versions of all installed packages: equal where two machines have the same ones."""
    found = set()
    for package in metadata.distributions():
        # Only the first lines are of interest; to parse the descriptions below them takes a third of a second.
        text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
        fields = dict(re.findall(r"^(Name|Version): (.*?)\s*$", text.partition("\n\n")[0], re.M))
        found.add(f"{fields.get('Name', '').lower().replace('_', '-')}=={fields.get('Version', '')}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def describe_machine(precision: str) -> Machine:
    """Versions and machine, as ``environment.json`` holds them."""
    import torch

    return Machine(
        hilum=hilum.__version__,
        code_sha256=code_sha256(),
        packages_sha256=packages_sha256(),
        python=platform.python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        processor=processor_name(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        precision=precision,
        threads=torch.get_num_threads(),
        command=" ".join(["hilum", *sys.argv[1:]]) if Path(sys.argv[0]).name == "hilum" else "python",
    )
