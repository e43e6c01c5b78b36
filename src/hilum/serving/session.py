"""ONNX Runtime with the network of a bundle: whatever goes wrong in it is one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hilum.errors import BundleError
from hilum.printable import printable
from hilum.serving.bundle import SHIPPED, Bundle, malformed
from hilum.serving.trial import CHUNK, TrialError, open_session, try_out


class Runs:
    """What one caller has under way, so that it can be ended."""

    def __init__(self) -> None:
        self.ended = False
        self._lock = Lock()
        self._options: list[Any] = []

    def end(self) -> None:
        """End what is under way, at the next operator, and begin nothing more."""
        with self._lock:
            self.ended = True
            for options in self._options:
                options.terminate = True

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Options for one run."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.only_execute_path_to_fetches = True  # maps cost nothing where nobody asks for them
        with self._lock:
            options.terminate = self.ended
            self._options.append(options)
        try:
            yield options
        finally:
            with self._lock:
                self._options.remove(options)


class Session:
    """The network of a bundle.

    Args:
        bundle: Whose graph was checked.
        features: Columns of its features; None where nobody asks for them.

    Raises:
        BundleError: ONNX Runtime cannot use it, it takes too long or too much memory, or its metadata speak of another
            graph.
    """

    def __init__(self, bundle: Bundle, features: int | None) -> None:
        self.bundle = bundle
        try:
            self.batch = CHUNK if _is_ours(bundle) else try_out(bundle.model, bundle.graph, bundle.size)
            self._session = open_session(bundle.model)
        except Exception as error:  # whatever the runtime raises
            self._refuse(error if isinstance(error, TrialError) else "it cannot be opened", error)
        self.sides: dict[str, tuple[int, ...]] = {"probabilities": (len(bundle.labels),)}
        if features is not None:
            self.sides["features"] = (features,)
        if bundle.maps:
            self.sides["maps"] = (len(bundle.maps),)
        self._check_shapes()

    def run(
        self, pixels: NDArray[np.uint8], names: Sequence[str], runs: Runs | None = None
    ) -> list[NDArray[np.float32]]:
        """Run the network on B images, `batch` at a time and the rest one by one.

        Args:
            pixels: Of shape (B, size, size).
            names: Outputs.
            runs: By which the caller can end it.

        Returns:
            The outputs, each of shape (B, ...).

        Raises:
            BundleError: The runtime cannot, or gives something of another shape.
        """
        whole = len(pixels) - len(pixels) % self.batch
        starts = [*range(0, whole, self.batch), *range(whole, len(pixels))]
        ends = [*starts[1:], len(pixels)]
        parts = [self._run(pixels[start:end], names, runs or Runs()) for start, end in zip(starts, ends, strict=True)]
        return parts[0] if len(parts) == 1 else [np.concatenate(found) for found in zip(*parts, strict=True)]

    def _run(self, pixels: NDArray[np.uint8], names: Sequence[str], runs: Runs) -> list[NDArray[np.float32]]:
        try:
            with runs.one() as options:
                found: list[NDArray[np.float32]] = self._session.run(
                    list(names), {self.bundle.facts["input"]["name"]: pixels}, options
                )
        except Exception as error:  # whatever the runtime raises
            self._refuse("it fails at an image", error)
        for name, output in zip(names, found, strict=True):
            wanted = (len(pixels), *self.sides.get(name, ()))
            if output.dtype != np.float32 or output.shape[: len(wanted)] != wanted or 0 in output.shape:
                raise BundleError(malformed(self.bundle.source, f"its network gives {name} of shape {output.shape}"))
        return found

    def _check_shapes(self) -> None:
        """What the metadata say of the graph has to be so; sides that the graph leaves open pass."""
        size = self.bundle.size
        try:
            given = [(item.name, item.type, item.shape) for item in self._session.get_inputs()]
            outputs = {item.name: (item.type, item.shape) for item in self._session.get_outputs()}
        except UnicodeDecodeError as error:  # names, as the runtime takes them from the file
            self._refuse("its names are no text", error)
        told = self.bundle.facts["input"]["name"], "tensor(uint8)", (size, size)
        fits = [item[:2] for item in given] == [told[:2]] and _same(given[0][2], told[2])
        for name, sides in self.sides.items():
            kind, shape = outputs.get(name, ("", []))
            fits = fits and kind == "tensor(float)" and _same(shape[: len(sides) + 1], sides)
        if not fits:
            raise BundleError(malformed(self.bundle.source, "they speak of another graph than the one beside them"))

    def _refuse(self, what: object, error: Exception) -> NoReturn:
        from onnxruntime import __version__

        detail = what if isinstance(error, TrialError) else f"{what}: {' '.join(str(error).split())[:300]}"
        why = printable(str(detail))
        msg = f"{self.bundle.source}: ONNX Runtime {__version__} cannot use it ({why}). Export it anew."
        raise BundleError(msg, code="unusable") from error


def _is_ours(bundle: Bundle) -> bool:
    """Whether it came with this copy of hilum: whoever could exchange it could exchange hilum."""
    sums: Path = SHIPPED / "SHA256SUMS"
    return sums.is_file() and bundle.sha256 in sums.read_text(encoding="ascii").split()


def _same(shape: Sequence[Any], sides: tuple[int, ...]) -> bool:
    """Whether a shape is (batch, *sides) as far as it is known."""
    known = zip(shape[1:], sides, strict=False)
    return len(shape) == len(sides) + 1 and all(not isinstance(a, int) or a == b for a, b in known)
