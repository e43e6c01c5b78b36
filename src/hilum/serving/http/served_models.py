"""The models of a service: several side by side, read anew without dropping a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread

from hilum.errors import HilumError, UsageError
from hilum.serving.http.description import ModelDescription, describe
from hilum.serving.http.pipeline import Pipeline
from hilum.serving.http.uploads import HttpError
from hilum.serving.predictor import Predictor


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
        sources: Model files, or names of models that come with hilum; none for ``paediatric-pneumonia``.
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
            found[name] = Served(
                Pipeline(predictor, threads=self.threads, batched=self._batched), describe(predictor.model_file)
            )
        return found
