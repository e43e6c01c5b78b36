"""Radiographs as a PyTorch dataset whose samples are those of torchxrayvision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import data as torch_data

from hilum.data.cache import Images, open_images, reopened
from hilum.data.dataset import Dataset
from hilum.data.frames import to_pandas
from hilum.data.multilabel import finding_values
from hilum.data.preprocessing import Preprocessing
from hilum.progress import Progress
from hilum.signatures import typed
from hilum.training.findings_loss import targets_of

if TYPE_CHECKING:
    import pandas


class Sample(TypedDict):
    """One radiograph: ``img`` of shape (1, size, size), ``lab`` of shape (K,), and its number ``idx``."""

    img: Tensor
    lab: Tensor
    idx: int


class RadiographDataset(torch_data.Dataset[Sample]):
    """The readable radiographs of a dataset, decoded once and kept in the cache.

    It can be sent to workers of a `DataLoader` however they are started.

    Args:
        data: The dataset.
        preprocessing: Size, fit and equalisation; by default 150 pixels, stretched.
        value_range: Smallest and largest value of a pixel: (0, 1), or (-1024, 1024) for the networks of
            torchxrayvision.
        progress: Told while files are decoded.

    Attributes:
        pathologies: K labels or findings, in the order of ``lab``.
        labels: One row an image, 1 under its label, shape (N, K); of findings NaN where unknown or uncertain.

    Raises:
        CacheError: The decoded images cannot be stored.
    """

    @typed
    def __init__(
        self,
        data: Dataset,
        preprocessing: Preprocessing | None = None,
        *,
        value_range: tuple[float, float] = (0.0, 1.0),
        progress: Progress | None = None,
    ) -> None:
        self._preprocessing = preprocessing or Preprocessing()
        self._images: Images = open_images(data, self._preprocessing, progress=progress)
        if data.findings:
            self.pathologies = list(data.findings)
            self.labels: NDArray[np.float32] = targets_of(finding_values(self._images.table), "ignore")
            self._low, self._high = value_range
            return
        self.pathologies = list(data.labels)
        index = {label: number for number, label in enumerate(self.pathologies)}
        truth = [index[row.label] for row in self._images.table.rows]
        self.labels = np.eye(len(self.pathologies), dtype=np.float32)[truth]
        self._low, self._high = value_range

    def __getstate__(self) -> dict[str, object]:
        """Without the pixels: a worker that was started anew maps the same files of the cache."""
        none = np.empty((0, 0, 0), np.uint8)
        return {**vars(self), "_images": replace(self._images, pixels=none, thumbnails=none)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        images, preprocessing = state["_images"], state["_preprocessing"]
        pixels, thumbnails = reopened(images.digest, preprocessing)
        vars(self).update(state, _images=replace(images, pixels=pixels, thumbnails=thumbnails))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, idx: int) -> Sample:
        number = range(len(self))[idx]
        pixels = torch.from_numpy(np.array(self._images.pixels[self._images.positions[number]]))
        values = pixels[None].float() / 255 * (self._high - self._low) + self._low
        return {"img": values, "lab": torch.from_numpy(self.labels[number].copy()), "idx": number}

    @property
    def csv(self) -> pandas.DataFrame:
        """The table of the images, one row each.

        Raises:
            ExtraError: pandas is not installed.
        """
        rows = self._images.table.rows
        names = ("path", "label", "split", "patient_id", "source", "sha256")
        columns: dict[str, list[str]] = {name: [getattr(row, name) for row in rows] for name in names}
        further = dict.fromkeys(name for row in rows for name in row.extra)
        return to_pandas(columns | {name: [row.extra.get(name, "") for row in rows] for name in further})
