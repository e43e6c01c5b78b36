"""The models of a service: several side by side, read anew without dropping a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any

from hilum.errors import HilumError, UsageError
from hilum.serving.http.pipeline import Pipeline
from hilum.serving.http.uploads import HttpError
from hilum.serving.legend import legend
from hilum.serving.predictor import Predictor


@dataclass(frozen=True)
class Label:
    """A label of a model.

    Attributes:
        label: As answers carry it.
        name: What it is called before people.
        healthy: Whether it means that nothing was found.
        flagged: Whether the operating point flags it.
    """

    label: str
    name: str
    healthy: bool
    flagged: bool


@dataclass(frozen=True)
class Decision:
    """A triage decision that a model may take, and what it means."""

    decision: str
    meaning: str


@dataclass(frozen=True)
class ModelDescription:
    """What ``GET /v1/model`` says of a model.

    Attributes:
        name: Of the model.
        sha256: Of its file.
        labels: In the order of the probabilities.
        group: What the operating point flags, in words; empty without one.
        threshold: From which probability on it flags; None without an operating point.
        upper_threshold: From which on it flags where there are two thresholds.
        decisions: What each triage decision means, most urgent first.
        data_errors: Errors that the audit found in its training data.
        licence: Of the weights.
        made_by: Version of hilum that wrote the file.
        certificate: As the model file has it; None where nothing is guaranteed.
        card: The model card, in Markdown.
    """

    name: str
    sha256: str
    labels: tuple[Label, ...]
    group: str
    threshold: float | None
    upper_threshold: float | None
    decisions: tuple[Decision, ...]
    data_errors: tuple[str, ...]
    licence: str
    made_by: str
    certificate: dict[str, Any] | None
    card: str


def describe(predictor: Predictor) -> ModelDescription:
    """What there is to say of a model before it answers."""
    file = predictor.model_file
    point = file.point.for_images() if file.point else None
    flagged = point.members if point else ()
    certificate = file.facts.get("certificate")
    return ModelDescription(
        file.name,
        file.sha256,
        tuple(Label(label, file.label_name[label], label in file.healthy, label in flagged) for label in file.labels),
        file.group,
        point.threshold if point else None,
        point.upper_threshold if point else None,
        tuple(Decision(*pair) for pair in legend(file)),
        file.data_errors,
        str(file.facts.get("licence", "")),
        str(file.facts.get("hilum", "")),
        certificate if isinstance(certificate, dict) else None,
        str(file.facts.get("card", "")),
    )


@dataclass(frozen=True)
class Served:
    """One model in service."""

    pipeline: Pipeline
    description: ModelDescription

    @property
    def predictor(self) -> Predictor:
        """Who answers."""
        return self.pipeline.predictor


class ServedModels:
    """Models by name, the first one being meant where none is named.

    Args:
        sources: Model files; none for the model that comes with hilum.
        batched: Is told the size of each batch.
        threads: Number of threads of each model; by default as many as this process may use cores.

    Raises:
        ModelFileError: One is missing or damaged.
        UsageError: Two have the same name.
    """

    def __init__(
        self,
        sources: Sequence[str] = (),
        *,
        batched: Callable[[int], object] | None = None,
        threads: int | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.threads = threads
        self._batched = batched
        self._lock = Lock()
        self._served = self._open()

    @property
    def all(self) -> tuple[Served, ...]:
        """In the order in which they were named."""
        return tuple(self._served.values())

    def get(self, name: str | None) -> Served:
        """A model by its name.

        Raises:
            HttpError: 404 where there is none of that name.
        """
        served = self._served  # one reference: a reload exchanges it as a whole
        if not name:
            return next(iter(served.values()))
        if name not in served:
            msg = f"no model of that name. Served are: {', '.join(served)}."
            raise HttpError(404, msg, code="no-such-model")
        return served[name]

    def reload(self) -> str:
        """Read all files anew; requests under way end with the model that they began with.

        Returns:
            Why that failed, in which case the models stay as they are; empty where it did not.
        """
        with self._lock:
            try:
                served = self._open()
            except HilumError as error:
                return str(error)
            before, self._served = self._served, served
        for old in before.values():
            Thread(target=old.pipeline.close, daemon=True).start()
        return ""

    def close(self) -> None:
        """End all threads once nothing waits."""
        for served in self._served.values():
            served.pipeline.close()

    def _open(self) -> dict[str, Served]:
        found: dict[str, Served] = {}
        for predictor in [Predictor(source) for source in self.sources] or [Predictor()]:
            name = predictor.model_file.name
            if name in found:
                msg = (
                    f"two models are called '{name}'. Export one under another name: hilum export RUN FILE --name NAME"
                )
                raise UsageError(msg, code="twin-models")
            found[name] = Served(Pipeline(predictor, threads=self.threads, batched=self._batched), describe(predictor))
        return found
