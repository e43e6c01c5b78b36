"""A frozen encoder, of which only the ONNX file is known, with pooling and one linear layer behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.data.network_input import NetworkInput
from hilum.errors import ModelFileError
from hilum.models.feature_cache import FeatureCache

Pooling = Literal["mean", "max", "cls", "embedding"]
DOMAIN, OPERATOR = "hilum.encoder", "Encode"  # what stands for the encoder in a graph, until it is put there
TORCH = {"float": torch.float32, "float16": torch.float16, "double": torch.float64, "uint8": torch.uint8}
MOST_PREFIXED = 16  # tokens before those of the image: a class token, registers


@dataclass(frozen=True)
class Shape:
    """What an encoder gives for one image.

    Attributes:
        kind: ``embedding``: C numbers. ``maps``: C channels of h x w places. ``tokens``: C numbers for each of
            h x w places, and for `prefix` tokens before them, of which the first is the class token.
        width: Numbers of a place, C.
        height: h; 1 of an embedding.
        across: w; 1 of an embedding.
        prefix: Tokens before those of the image.
        given: The shape of the output, without the batch.
    """

    kind: Literal["embedding", "maps", "tokens"]
    given: tuple[int, ...]
    width: int
    height: int = 1
    across: int = 1
    prefix: int = 0

    @classmethod
    def of(cls, shape: Sequence[int], layout: str) -> Shape | None:
        """Read off the output of one image, without the batch; None where it is nothing of the three."""
        given = tuple(shape)
        if len(shape) == 1:
            return cls("embedding", given, shape[0])
        if len(shape) == 2:
            side = isqrt(shape[0])
            prefix = shape[0] - side * side
            return cls("tokens", given, shape[1], side, side, prefix) if prefix <= MOST_PREFIXED else None
        if len(shape) == 3:
            channels, height, across = shape if layout == "NCHW" else (shape[2], *shape[:2])
            if (height, across) == (1, 1):
                return cls("embedding", given, channels)
            return cls("maps", given, channels, height, across)
        return None

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """What can be made of it."""
        if self.kind == "embedding":
            return ("embedding",)
        return ("mean", "max", "cls") if self.prefix else ("mean", "max")

    @property
    def usual(self) -> tuple[Pooling, ...]:
        """What is made of it by default."""
        return {"embedding": ("embedding",), "maps": ("mean", "max")}.get(
            self.kind, ("cls", "mean") if self.prefix else ("mean", "max")
        )  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Encoder:
    """An image encoder in an ONNX file that takes any number of images.

    Attributes:
        file: The ONNX file.
        sha256: Of the file that was given.
        input: What it takes.
        output: Name of the output.
    """

    file: Path
    sha256: str
    input: NetworkInput
    output: str

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime's session.

        Raises:
            ModelFileError: ONNX Runtime cannot open the file.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of ONNX Runtime, which has no class of its own for them
            raise _cannot_run(self.file, error) from error

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type of the input.

        Raises:
            ModelFileError: It holds no pixels.
        """
        stated = self.session.get_inputs()[0].type
        kind = TORCH.get(stated.removeprefix("tensor(").removesuffix(")"))
        if kind is None:
            msg = f"{self.file}: its input is a {stated}, which holds no pixels. Give an encoder of images."
            raise ModelFileError(msg, code="wrong-input", path=self.file)
        return kind

    @cached_property
    def output_dtype(self) -> torch.dtype:
        """Type of the output."""
        stated = next(one.type for one in self.session.get_outputs() if one.name == self.output)
        return TORCH.get(stated.removeprefix("tensor(").removesuffix(")"), torch.float32)

    @cached_property
    def shape(self) -> Shape:
        """What it gives for one image.

        Raises:
            ModelFileError: It cannot be run, or gives nothing that could be pooled.
        """
        size = self.input.size
        found = self.run(self.taken(np.zeros((1, size, size), np.uint8)))
        shape = Shape.of(found.shape[1:], self.input.layout)
        if shape is None:
            msg = (
                f"{self.file}: its output '{self.output}' has the shape {list(found.shape)}, which is no embedding, "
                "no feature maps and no tokens of a square image. Name another output."
            )
            raise ModelFileError(msg, code="wrong-outputs", path=self.file)
        return shape

    def taken(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Bytes (B, size, size) as the encoder takes them."""
        values: NDArray[Any] = torch.from_numpy(self.input.apply(pixels)).to(self.dtype).numpy()
        return values

    def run(self, images: NDArray[Any]) -> NDArray[Any]:
        """The output for images as the encoder takes them.

        Raises:
            ModelFileError: ONNX Runtime cannot run it.
        """
        try:
            found: NDArray[Any] = self.session.run([self.output], {self.session.get_inputs()[0].name: images})[0]
        except Exception as error:  # of ONNX Runtime
            raise _cannot_run(self.file, error) from error
        return found


def _cannot_run(file: Path, error: Exception) -> ModelFileError | MemoryError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    if "allocate memory" in reason or "bad_alloc" in reason:
        return MemoryError(f"{file}: {reason}")
    msg = f"{file}: cannot be run ({reason}). Check the file, and [input] of its description."
    return ModelFileError(msg, code="cannot-run", path=file)


class EncoderNetwork(nn.Module):
    """Frozen features and one linear layer.

    Outside of an export the encoder is run by ONNX Runtime, one image at a time, so that an image's features are the
    same bits whatever it is batched with. In an export one operator stands for it
    (`hilum.exporting.merged_encoder` puts the encoder's graph in its place).

    Args:
        encoder: Frozen.
        pooling: How its output becomes features, side by side.
        n_outputs: Of the linear layer.

    Attributes:
        cache: Where features are looked up and kept; None for nowhere.
    """

    def __init__(self, encoder: Encoder, pooling: Sequence[Pooling], n_outputs: int) -> None:
        super().__init__()
        self.encoder, self.pooling, self.shape = encoder, tuple(pooling), encoder.shape
        taken = encoder.input
        low, high = taken.range
        mean, std = (torch.tensor(part, dtype=torch.float64).reshape(1, -1, 1, 1) for part in (taken.mean, taken.std))
        scale = (high - low) / 2 / std  # of what networks here see, in [-1, 1]
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", ((high + low) / 2 / std - mean / std).float())
        self.register_buffer("encoder_sha256", torch.tensor(list(bytes.fromhex(encoder.sha256)), dtype=torch.uint8))
        self.pool = nn.AdaptiveAvgPool2d(1) if self.pooling == ("mean",) else None  # whose maps explain exactly
        self.head = nn.Linear(self.shape.width * len(self.pooling), n_outputs)
        self.cache: FeatureCache | None = None

    @property
    def digest(self) -> str:
        """A hash of all that decides about the features of an image."""
        told = f"{self.encoder.sha256}:{self.encoder.input.model_dump_json()}:{self.encoder.output}:{self.pooling}"
        return hashlib.sha256(told.encode()).hexdigest()

    def taken(self, images: Tensor) -> Tensor:
        """Images (B, 1, S, S) in [-1, 1] as the encoder takes them."""
        values = images * self.get_buffer("scale") + self.get_buffer("shift")
        values = values.expand(-1, self.encoder.input.channels, -1, -1)
        values = values if self.encoder.input.layout == "NCHW" else values.permute(0, 2, 3, 1)
        kind = self.encoder.dtype
        return (values.round() if kind == torch.uint8 else values).to(kind).contiguous()

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, 1, S, S) in [-1, 1]."""
        cache = self.cache
        if cache is None:
            return self._pooled(self._encoded(self.taken(images)))
        plain = images.detach().cpu().float().contiguous().numpy()
        keys, found = cache.find([one.tobytes() for one in plain])
        missing = [i for i, one in enumerate(found) if one is None]
        if missing:
            computed = self._pooled(self._encoded(self.taken(images[missing]))).detach().cpu().numpy()
            cache.add([keys[i] for i in missing], computed)
            for i, one in zip(missing, computed, strict=True):
                found[i] = one
        return torch.from_numpy(np.stack([one for one in found if one is not None])).to(images.device)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, S, S) to log-probabilities (B, K)."""
        return F.log_softmax(self.head(self.features(images).to(self.head.weight.dtype)), dim=1)

    def _encoded(self, taken: Tensor) -> Tensor:
        shape = self.shape
        last = shape.kind == "maps" and self.encoder.input.layout == "NHWC"
        if torch.compiler.is_exporting():
            answer = torch.onnx.ops.symbolic(
                f"{DOMAIN}::{OPERATOR}",
                (taken,),
                dtype=self.encoder.output_dtype,
                shape=(taken.shape[0], *shape.given),
                version=1,
            ).float()
        else:
            plain = taken.detach().cpu().numpy()
            rows = [self.encoder.run(plain[i : i + 1]) for i in range(len(plain))]
            answer = torch.from_numpy(np.concatenate(rows)).float().to(taken.device)
        answer = answer.permute(0, 3, 1, 2) if last else answer
        return answer.flatten(1) if shape.kind == "embedding" else answer

    def _pooled(self, encoded: Tensor) -> Tensor:
        shape = self.shape
        if shape.kind == "embedding":
            return encoded
        if shape.kind == "tokens":
            places = encoded[:, shape.prefix :].transpose(1, 2)
            places = places.reshape(-1, shape.width, shape.height, shape.across)
        else:
            places = encoded
        if self.pool is not None:
            averaged: Tensor = self.pool(places)
            return averaged.flatten(1)
        made = []
        for how in self.pooling:
            if how == "cls":
                made.append(encoded[:, 0])
            else:
                made.append(places.mean(dim=(2, 3)) if how == "mean" else places.amax(dim=(2, 3)))
        return torch.cat(made, dim=1)


@contextmanager
def kept_features(network: nn.Module) -> Iterator[None]:
    """Look up and keep on disk, within the block, the features of a network's encoder, if it has one."""
    found = [module for module in network.modules() if isinstance(module, EncoderNetwork)]
    for module in found:
        module.cache = FeatureCache(module.digest, module.head.in_features)
    try:
        yield
    finally:
        for module in found:
            module.cache = None
