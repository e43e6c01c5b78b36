"""A classifier of radiographs for scikit-learn: ``fit``, ``predict``, ``predict_proba``, on paths of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hilum.api.model import Images, Model
from hilum.api.runs import Run
from hilum.api.trainings import train
from hilum.data.dataset import Dataset, Row
from hilum.errors import UsageError
from hilum.exporting.export import export as write_model_file

LARGEST_SEED = 2**31


def _name(value: Any) -> str:
    """A label or patient as text; empty where it is not known."""
    return "" if value is None or value != value else str(value)  # a NaN differs from itself


class RadiographClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train a recipe of hilum on image files; follows scikit-learn's conventions.

    ``X`` is a sequence of paths. From the training patients, `fit` holds out 10 % to choose the epoch and 10 % to fit
    the temperature, by `groups`; near-duplicates stay on one side. Use `cross_val_predict` or `hilum.cross_validate`
    for an honest estimate of performance.

    Args:
        recipe: Name of a recipe, or TOML file.
        random_state: Seed of weights, batches and splits: a number, a ``RandomState``, or None.
        settings: Recipe keys with other values, such as ``{"epochs": 5}``.
        out: Folder that keeps the run; it must not exist yet. By default the run is deleted once the model is made.
        verbose: Whether the training shows its progress.

    Attributes:
        classes_: The labels, sorted, shape (K,).
        model_: The trained `hilum.Model`.
        run_: The `hilum.Run`, if `out` keeps it; otherwise None.
    """

    def __init__(
        self,
        recipe: str | PathLike[str] = "compact",
        *,
        random_state: int | np.random.RandomState | None = None,
        settings: Mapping[str, Any] | None = None,
        out: str | PathLike[str] | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.settings = settings
        self.out = out
        self.verbose = verbose

    def fit(self, X: Sequence[str | PathLike[str]], y: ArrayLike, groups: ArrayLike | None = None) -> Self:  # noqa: N803
        """Train.

        Args:
            X: Paths of N images.
            y: Their labels, N values of any type that sorts.
            groups: The patient of each image, N values; None where unknown, so that each image counts as a patient.

        Raises:
            UsageError: `X`, `y` and `groups` differ in length, `y` has several columns, or `X` holds no paths.
            DataError: The images cannot be used.
        """
        paths, labels = list(X), np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] > 1:
            msg = (
                f"y of shape {labels.shape}: this estimator learns one label an image. Several findings are learnt "
                "from a table with a column each: hilum.train(frame, ...)."
            )
            raise UsageError(msg, code="several-findings")
        patients = [""] * len(paths) if groups is None else [_name(group) for group in np.asarray(groups, object)]
        if not all(isinstance(path, str | PathLike) for path in paths):
            msg = "X: give paths of image files; arrays cannot be traced to duplicates and patients."
            raise UsageError(msg, code="no-paths")
        if labels.ndim != 1 or not len(paths) == len(labels) == len(patients):
            msg = f"{len(paths)} paths, labels of shape {labels.shape} and {len(patients)} groups: give one per image."
            raise UsageError(msg, code="uneven-lengths")
        if missing := [path for path in paths if not Path(path).is_file()]:
            msg = f"{missing[0]}: no such file ({len(missing):,} of {len(paths):,} paths). Correct X."
            raise UsageError(msg, code="missing")
        if not all(_name(label) for label in labels.tolist()):
            msg = "y: a label is missing or empty. Give each image a label, or remove the image."
            raise UsageError(msg, code="no-label")
        told = dict(zip(map(str, paths), labels.tolist(), strict=True))
        if twice := [path for path, label in zip(paths, labels.tolist(), strict=True) if told[str(path)] != label]:
            msg = f"{twice[0]}: occurs twice with different labels. Keep one."
            raise UsageError(msg, code="contradicting-rows")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        names = [str(value) for value in self.classes_]
        rows = [
            Row(str(Path(path).absolute()), names[code], patient_id=patient)
            for path, code, patient in zip(paths, codes, patients, strict=True)
        ]
        seed = int(check_random_state(self.random_state).randint(LARGEST_SEED))
        if isinstance(self.random_state, int | np.integer):
            seed = int(self.random_state) % LARGEST_SEED
        settings = {"splits.test": "none", "splits.seed": seed, **(self.settings or {})}
        with TemporaryDirectory(prefix="hilum-") as folder:
            out = Path(self.out) if self.out is not None else Path(folder) / "run"
            run = train(Dataset(Path.cwd(), rows), out, self.recipe, seed=seed, progress=self.verbose, **settings)
            file = Path(folder) / "model.onnx"
            write_model_file(run, file)
            self.model_ = Model(file.read_bytes())
        self.run_ = None if self.out is None else Run(run.path)
        self._order = [names.index(label) for label in self.model_.classes_]
        return self

    def predict_proba(self, X: Images) -> NDArray[np.float32]:  # noqa: N803
        """Probabilities of shape (N, K), columns in the order of ``classes_``.

        Args:
            X: Paths of N images, or arrays, as `hilum.Model.predict_proba` takes them.

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
            ImageError: An image cannot be read.
        """
        check_is_fitted(self, "model_")
        found = self.model_.predict_proba(X)
        probabilities = np.zeros((len(found), len(self.classes_)), found.dtype)
        probabilities[:, self._order] = found
        return probabilities

    def predict(self, X: Images) -> NDArray[Any]:  # noqa: N803
        """The most probable label of each image, shape (N,).

        Args:
            X: As `predict_proba` takes it.

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
            ImageError: An image cannot be read.
        """
        columns = self.predict_proba(X).argmax(axis=1)
        chosen: NDArray[Any] = self.classes_[columns]
        return chosen
