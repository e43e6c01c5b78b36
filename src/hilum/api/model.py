"""`hilum.load`: a model file that answers, as scikit-learn's users expect; without PyTorch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL.Image import Image

from hilum.api.python_wording import public
from hilum.errors import ArgumentError, ImageError, UsageError
from hilum.serving.finding_decisions import LIKELY
from hilum.serving.inputs import Source, find_files
from hilum.serving.prediction import UNCERTIFIED, Prediction
from hilum.serving.predictor import Predictor

if TYPE_CHECKING:
    from hilum.serving.explain import Explanation, Heatmap
    from hilum.serving.model_file import ModelFile
    from hilum.serving.result_files import ResultFiles

AS_THEY_ARE = ("L", "I", "F", "RGB", "RGBA")  # modes of Pillow whose arrays are grey values or colours
CERTIFY = f"{UNCERTIFIED}: run `hilum certify RUN`, then hilum.export(RUN, FILE), and load that file"
COLOURS = (3, 4)  # RGB and RGBA, of which the colours are taken
Images = str | PathLike[str] | bytes | ArrayLike | Image | Iterable[Any]
"""A path, an image of Pillow, an array of shape (H, W) or (N, H, W), or several paths, bytes, images or arrays."""


class Explained:
    """An answer about one radiograph, with heatmaps of what speaks for it.

    Attributes:
        prediction: The answer.
        heatmaps: One for each decision of the network.
        method: ``activation`` or ``occlusion``.
    """

    def __init__(self, explanation: Explanation, image: Image) -> None:
        self.prediction: Prediction = explanation.answer
        self.heatmaps: tuple[Heatmap, ...] = explanation.heatmaps
        self.method: str = explanation.method
        self.image: Image = image

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.image.save(file, "PNG")
        return file.getvalue()


class Model:
    """A model file that answers about radiographs.

    Args:
        source: Model file, its folder or its bytes; ``hf://owner/name``; name of a model that comes with hilum
            (``adult-pneumonia``); None for ``paediatric-pneumonia``.
        threads: Number of threads; by default as many as this process may use cores.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """

    @public
    def __init__(self, source: str | PathLike[str] | bytes | None = None, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            msg = f"load: threads={threads}. Give at least 1, or None for as many as this process may use cores."
            raise ArgumentError(msg, code="wrong-argument", argument="threads")
        path = source if isinstance(source, str | bytes | None) else Path(source)
        self._predictor = Predictor(path, threads=threads)

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[Any, ...]]:
        """For another process: the content of the model file; a session of ONNX Runtime cannot be sent."""
        return _restored, (self._predictor.model_file, self._predictor.threads)

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The labels or findings, shape (K,), in the order of the columns of `predict_proba`."""
        return np.array(self._predictor.model_file.labels)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._predictor.model_file.name

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file, in hexadecimal."""
        return self._predictor.model_file.sha256

    @property
    def data_errors(self) -> tuple[str, ...]:
        """Errors that the audit found in the training data; empty where it found none."""
        return self._predictor.model_file.data_errors

    @public
    def predict_proba(self, X: Images) -> NDArray[np.float32]:  # noqa: N803 - scikit-learn's name
        """Probabilities of the labels.

        Args:
            X: Path of a file or folder; array of shape (H, W) or (N, H, W) in bytes, integers of 16 bits or floats
                between 0 and 1; or any number of paths, bytes and arrays. Colours stand last, (H, W, 3) or
                (N, H, W, 3) in bytes or integers of 16 bits, and become their luma; (3, H, W) is refused.

        Returns:
            Of shape (N, K), in [0, 1]; each row sums to 1, but for findings, of which an image may have several.

        Raises:
            ImageError: An image cannot be read.
            UsageError: `X` is nothing that can be read.
        """
        rows = [[found.probabilities[label] for label in self.classes_] for found in self._answers(X)]
        return np.array(rows, np.float32).reshape(len(rows), len(self.classes_))

    @public
    def predict(self, X: Images) -> NDArray[np.str_] | NDArray[np.int64]:  # noqa: N803
        """The most probable label of each image, shape (N,); of findings 1 where one is more probable than not.

        For findings the shape is (N, K), as scikit-learn has it for multilabel problems.

        Args:
            X: As `predict_proba` takes it.

        Raises:
            ImageError: An image cannot be read.
            UsageError: `X` is nothing that can be read.
        """
        if self._predictor.model_file.findings:
            return (self.predict_proba(X) >= LIKELY).astype(np.int64)
        return np.array([found.label for found in self._answers(X)], dtype=self.classes_.dtype)

    @public
    def triage(self, X: Images) -> list[Prediction]:  # noqa: N803
        """Triage decision of each image: flag, clear, abstain, read or undecided, with the reason.

        Args:
            X: As `predict_proba` takes it.

        Returns:
            One prediction an image; one that cannot be read has an ``error`` and no decision. Without an operating
            point every decision is ``undecided`` or ``abstain``, and the reason says how to get one.

        Raises:
            UsageError: `X` is nothing that can be read.
        """
        answers = self._predictor.predict_many(sources_of(X))
        return [replace(one, reason=CERTIFY) if one.reason == UNCERTIFIED else one for one in answers]

    @public
    def explain(self, X: Images, *, method: str | None = None, finding: str = "") -> list[Explained]:  # noqa: N803
        """Where the reasons of each answer lie.

        Args:
            X: As `predict_proba` takes it.
            method: ``activation`` or ``occlusion``; by default activation maps where the network has them.
            finding: For which finding or label; by default the most probable label, or of findings the one with the
                most urgent decision.

        Returns:
            One an image; a notebook shows it as a picture.

        Raises:
            ImageError: An image cannot be read.
            UsageError: There is no such method or finding, or `X` is nothing that can be read.
        """
        from hilum.serving.explain import draw, explain

        found = [explain(self._predictor, source, method=method, label=finding) for source in sources_of(X)]
        return [Explained(one, draw(one, self._predictor.model_file)) for one in found]

    @public
    def write_reports(
        self,
        X: Images,  # noqa: N803
        *,
        sr: str | PathLike[str] | None = None,
        fhir: str | PathLike[str] | None = None,
        enhanced: bool = False,
        heatmaps: bool = False,
    ) -> ResultFiles:
        """Write answers about DICOM files as structured reports, as FHIR, or both, as ``hilum predict --sr --fhir``.

        Args:
            X: Path of a file or folder, or several paths.
            sr: Folder of the structured reports (TID 1500), one an image.
            fhir: Folder of the FHIR R4 bundles, one an image.
            enhanced: Write Enhanced SR, for archives that refuse Comprehensive 3D SR.
            heatmaps: Whether a heatmap of each answer is written beside its report.

        Returns:
            Its ``written`` is the number of images, its ``left_out`` names those without a report, and why.

        Raises:
            ExtraError: The extra ``[node]`` is not installed.
            UsageError: `X` is no path, or no folder is given or usable.
        """
        from hilum.serving.explain import explain
        from hilum.serving.result_files import ResultFiles

        files = sources_of(X)
        if sr is None and fhir is None:
            msg = "write_reports: neither sr nor fhir is given. Name a folder for one of them, or for both."
            raise UsageError(msg, code="no-folder")
        if not all(isinstance(file, str | Path) for file in files):
            msg = "X: an array or bytes belong to no patient and study. Give paths of DICOM files."
            raise UsageError(msg, code="no-path")
        reports, bundles = (None if folder is None else Path(folder) for folder in (sr, fhir))
        results = ResultFiles(self._predictor.model_file, reports, bundles, enhanced=enhanced)
        paths = [Path(str(file)) for file in files]
        for path, answer in zip(paths, self._predictor.predict_many(paths), strict=True):
            shown = explain(self._predictor, path) if heatmaps and sr is not None and not answer.error else None
            results.add(path, answer, shown)
        return results

    def _answers(self, images: Images) -> Iterator[Prediction]:
        for found in self._predictor.predict_many(sources_of(images)):
            if found.error:
                msg = f"{found.path}: {found.error}"
                raise ImageError(msg, path=found.path)
            yield found

    def __repr__(self) -> str:
        return f"<hilum.Model {self.name}: {', '.join(self.classes_)}>"


def sources_of(images: Images) -> list[Source]:
    """Single images, from all that can be given for several.

    Raises:
        UsageError: It is nothing that can be read.
    """
    if isinstance(images, bytes | Image):
        return [_source(images)]
    if isinstance(images, str | PathLike):
        path = Path(images)
        return list(find_files([path])) if path.is_dir() else [path]
    if hasattr(images, "__array__"):
        array = _array(images)
        if array.dtype.kind not in "UOT":
            return _images_of(array)
        if array.ndim == 1:  # a column of paths
            return [_source(image) for image in array.tolist()]
    elif isinstance(images, Iterable):
        return [_source(image) for image in images]
    raise _no_images(images)


def _images_of(array: NDArray[Any]) -> list[Source]:
    """The images that an array of numbers holds; a batch may have a dimension of one channel."""
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in COLOURS):
        return [array]
    if array.ndim in (3, 4) and array.shape[-3] == 3 and array.shape[-1] not in COLOURS:
        where, axes = ("(3, H, W)", "(1, 2, 0)") if array.ndim == 3 else ("(N, 3, H, W)", "(0, 2, 3, 1)")
        msg = (
            f"X: an array of shape {array.shape} may hold colours or three grey images. "
            f"Of colours, {where}: give X.transpose{axes}. Of grey images: give list(X)."
        )
        raise UsageError(msg, code="ambiguous-shape")
    if array.ndim == 3:
        return list(array)
    if array.ndim == 4 and (array.shape[1] == 1 or array.shape[3] in (1, *COLOURS)):
        return list(array[:, 0] if array.shape[1] == 1 else array[..., 0] if array.shape[3] == 1 else array)
    msg = f"X: an array of shape {array.shape}. Give (H, W), (H, W, 3), (N, H, W), (N, H, W, 3) or (N, 1, H, W)."
    raise UsageError(msg, code="wrong-shape")


def _source(image: Any) -> Source:
    if isinstance(image, Image):
        whole = image.mode in AS_THEY_ARE or image.mode.startswith("I;16")
        return np.asarray(image if whole else image.convert("RGB"))
    if isinstance(image, str | bytes):
        return image
    if isinstance(image, PathLike):
        return Path(image)
    if hasattr(image, "__array__"):
        array = _array(image)
        return _images_of(array)[0] if array.ndim == 3 and array.shape[0] in (1, 3) else array
    raise _no_images(image)


def _array(images: Any) -> NDArray[Any]:
    """An array of NumPy; a tensor of PyTorch without its gradient."""
    try:
        return np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"X: a {type(images).__name__} cannot be made an array of NumPy ({error}). Give one of uint8 or float32."
        raise UsageError(msg, code="no-images") from error


def _no_images(found: object) -> UsageError:
    what = "None" if found is None else f"a {type(found).__name__}"
    msg = f"X: {what} is not an image. Give paths, bytes, images of Pillow, or arrays of shape (H, W)."
    return UsageError(msg, code="no-images")


def _restored(model_file: ModelFile, threads: int) -> Model:
    """A model that was sent from another process."""
    model = Model.__new__(Model)
    model._predictor = Predictor(model_file, threads=threads)
    return model


@public
def load(model: str | PathLike[str] | bytes | None = None, *, threads: int | None = None) -> Model:
    """Open a model file.

    Args:
        model: Model file, its folder or its bytes; ``hf://owner/name``; name of a model that comes with hilum
            (``adult-pneumonia``); None for ``paediatric-pneumonia``.
        threads: Number of threads; by default as many as this process may use cores.

    Raises:
        ModelFileError: There is none, or it is damaged.
        ExtraError: It lies on a hub, and the extra ``[hub]`` is not installed.
    """
    return Model(model, threads=threads)
