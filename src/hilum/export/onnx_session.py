"""What an ONNX model answers about many images, while a bundle is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.export.onnx_model import INPUT

BATCH = 64


class OnnxSession:
    """Runs a model whose input is bytes (B, size, size).

    Args:
        model: Serialised.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def outputs(self, images: Images, names: Sequence[str]) -> list[NDArray[np.float32]]:
        """The outputs of these names for N images, each of shape (N, ...)."""
        parts: list[list[NDArray[np.float32]]] = [[] for _ in names]
        for start in range(0, len(images.positions), BATCH):
            pixels = np.ascontiguousarray(images.pixels[images.positions[start : start + BATCH]])
            for part, found in zip(parts, self._session.run(list(names), {INPUT: pixels}), strict=True):
                part.append(found)
        return [np.concatenate(part) for part in parts]

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """Calibrated probabilities of N images, of shape (N, K)."""
        return self.outputs(images, ["probabilities"])[0].astype(np.float64)

    def features(self, images: Images) -> NDArray[np.float32]:
        """Last features of N images, of shape (N, F)."""
        return self.outputs(images, ["features"])[0]
