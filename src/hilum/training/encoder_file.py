"""The file of a frozen encoder: where it lies, whether it can be used, and what its graph and description say of it.

Beside ``FILE.onnx`` a description ``FILE.toml`` states what the graph does not::

    licence = "MIT"                                # and, if there are any, terms = "..."

    [input]                                        # as in the description of a network
    range = [0.0, 1.0]                             # what black and white become, before mean and std
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]

    [output]
    name = "last_hidden_state"                     # if there are several
    pooling = ["cls", "mean"]

``layout``, ``size`` and ``channels`` of the input are read from the graph, where it has fixed dimensions.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from pydantic import Field, ValidationError

from hilum.data.cache_files import cache_folder, make_private
from hilum.data.network_input import DescriptionPart, NetworkInput, faults
from hilum.errors import CacheError, ModelFileError
from hilum.files import STEP, open_regular, read_text, save_bytes
from hilum.models.encoder_network import Encoder
from hilum.serving.onnx_file import HASH, METADATA, GraphError, check_graph
from hilum.serving.predictor import PREFIX, fetch
from hilum.training.built_in_encoders import BUILT_IN, built_in
from hilum.training.plan import EncoderChoice, Pooling

FOLDER = "encoders"
LARGEST = 2**31 - 2**24  # protobuf's limit, which a model file shares, less what stands around the encoder
TIMES = 3  # the file's size in memory: its bytes, its graph, and ONNX Runtime's weights
OPSET = 18
TEXT = ("input_ids", "attention_mask", "token_type_ids", "tokens", "text")


class _Input(DescriptionPart):
    """What is stated of the input; the graph may say the rest."""

    size: int | None = None
    channels: Literal[1, 3] | None = None
    fit: Literal["stretch", "pad", "crop"] | None = None
    equalise: bool | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None


class _Output(DescriptionPart):
    name: str = ""
    pooling: tuple[Pooling, ...] = ()


class _Description(DescriptionPart):
    licence: str = ""
    terms: str = ""
    input: _Input = Field(default_factory=_Input)
    output: _Output = Field(default_factory=_Output)


@dataclass(frozen=True)
class Located:
    """Where an encoder lies, and what stands beside it."""

    file: Path
    description: Path
    stated: _Description


def open_encoder(choice: EncoderChoice) -> tuple[Encoder, EncoderChoice]:
    """Find an encoder, and all that a training has to know of it.

    Args:
        choice: Which, and what is stated of it.

    Returns:
        The encoder, as a file of hilum's cache that takes any number of images; and the choice with everything that
        its description and its graph say.

    Raises:
        ModelFileError: There is none, it cannot be used, or something has to be stated.
        ExtraError: A package that brings it, or reaches a hub, is not installed.
        CacheError: The cache cannot be written.
    """
    found = _locate(choice)
    status = found.file.stat()
    described = found.description.stat().st_mtime_ns if found.description.is_file() else 0
    return _opened(found, cache_folder(), status.st_mtime_ns, status.st_size, described, choice.model_dump_json())


@lru_cache(maxsize=4)
def _opened(
    found: Located, _cache: Path, _changed: int, size: int, _described: int, told: str
) -> tuple[Encoder, EncoderChoice]:
    choice = EncoderChoice.model_validate_json(told)
    file, description, stated = found.file, found.description, found.stated
    _check_size(file, size)
    sha256, model = _read(file)
    if choice.sha256 and choice.sha256 != sha256:
        msg = f"{file}: has the SHA-256 {sha256}; the recipe says {choice.sha256}. Give that file, or omit the hash."
        raise ModelFileError(msg, code="other-encoder", path=file)
    licence = choice.licence or stated.licence
    if not licence.strip():
        msg = (
            f"{file}: its licence is not stated, and the weights of a model are made of it. Give --encoder-licence, or "
            f'licence = "..." in {description.name} beside it.'
        )
        raise ModelFileError(msg, code="no-licence", path=file)
    _check_served(file, model)
    taken = choice.input or _input_of(file, description, model, stated.input)
    output = _output_of(file, description, model, choice.output or stated.output.name)
    encoder = Encoder(_kept(file, sha256, model, output), sha256, taken, output)
    _check_any_number(file, encoder)
    pooling = choice.pooling or stated.output.pooling or encoder.shape.usual
    if wrong := [how for how in pooling if how not in encoder.shape.poolings]:
        msg = (
            f"{file}: its output '{output}' is of kind {encoder.shape.kind}, without pooling by {wrong[0]}. Choose of: "
            f"{', '.join(encoder.shape.poolings)}."
        )
        raise ModelFileError(msg, code="impossible-pooling", path=file)
    known = {"licence": licence, "terms": choice.terms or stated.terms, "sha256": sha256}
    return encoder, choice.model_copy(
        update={**known, "input": taken, "output": output, "pooling": list(dict.fromkeys(pooling))}
    )


def _locate(choice: EncoderChoice) -> Located:
    name = choice.file
    if name in BUILT_IN:
        file, licence, terms, values = built_in(name)
        stated = _Description(licence=licence, terms=terms, input=_Input(range=values))
        return Located(file, file.with_suffix(".toml"), stated)
    file = Path(name).expanduser()
    if name.startswith(PREFIX):
        file = fetch(name)
        with suppress(ModelFileError):  # there may be none, and its licence be given
            fetch(name, file.with_suffix(".toml").name)
    if file.is_dir():
        inside = sorted(file.glob("*.onnx"))
        if len(inside) != 1:
            what = f"holds {len(inside)} ONNX files" if inside else "holds no ONNX file"
            msg = f"{file}: {what}. Name one: --encoder {file / 'FILE.onnx'}"
            raise ModelFileError(msg, code="no-encoder", path=file)
        file = inside[0]
    if not file.is_file():
        msg = f"{file}: no such file, and not a known encoder ({', '.join(BUILT_IN)}). Give --encoder FILE.onnx."
        raise ModelFileError(msg, code="no-encoder", path=file)
    description = file.with_suffix(".toml")
    return Located(file, description, _read_description(description))


def _read_description(file: Path) -> _Description:
    if not file.is_file():
        return _Description()
    try:
        return _Description.model_validate(tomllib.loads(read_text(file)))
    except (OSError, ValueError, RecursionError) as error:
        what = faults(error) if isinstance(error, ValidationError) else str(error)
        msg = f"{file}: describes no encoder ({what}). It has licence, terms, [input] and [output]."
        raise ModelFileError(msg, code="malformed-description", path=file) from error


def available_memory() -> int | None:
    """Bytes that a process may still take; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _check_size(file: Path, size: int) -> None:
    there = available_memory()
    if size > LARGEST:
        msg = (
            f"{file}: {size / 2**30:.1f} GiB; encoder and head share one ONNX file, which holds at most 2 GiB. Take a "
            "smaller encoder."
        )
        raise ModelFileError(msg, code="too-large", path=file)
    if there is not None and TIMES * size > there:
        msg = (
            f"{file}: {size / 2**20:,.0f} MiB, which take about {TIMES * size / 2**20:,.0f} MiB of memory; "
            f"{there / 2**20:,.0f} MiB are available. Take a smaller encoder, or another machine."
        )
        raise ModelFileError(msg, code="too-large", path=file)


def _read(file: Path) -> tuple[str, onnx.ModelProto]:
    """The SHA-256 of the file, and its model with whatever lies in files beside it."""
    digest = hashlib.sha256()
    try:
        with open_regular(file) as opened:
            while block := opened.read(STEP):
                digest.update(block)
        bare = onnx.load(file, load_external_data=False)
        outside = {
            entry.value
            for tensor in bare.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location" and tensor.data_location == onnx.TensorProto.EXTERNAL
        }
        _check_size(file, sum((file.parent / name).stat().st_size for name in outside) + file.stat().st_size)
        if not outside:
            return digest.hexdigest(), bare
        model = onnx.load(file)
        for tensor in model.graph.initializer:  # of a file whose weights lie elsewhere: they, too, make the encoder
            digest.update(tensor.raw_data)
    except ModelFileError:
        raise
    except Exception as error:  # of the disk, of protobuf, and of ONNX
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        msg = f"{file}: cannot be read as an ONNX model ({reason}). Export the encoder again."
        raise ModelFileError(msg, code="cannot-read", path=file) from error
    return digest.hexdigest(), model


def _check_served(file: Path, model: onnx.ModelProto) -> None:
    """Find before any training what `hilum predict` would refuse to open."""
    from onnx.inliner import inline_local_functions

    if model.functions:
        model.CopyFrom(inline_local_functions(model))
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    onnx.helper.set_model_props(bare, {METADATA: "{}", HASH: ""})
    del bare.training_info[:]
    try:
        check_graph(bare.SerializeToString())
    except GraphError as error:
        msg = f"{file}: a model file cannot hold it: its graph has {error}. Export the encoder with other operators."
        raise ModelFileError(msg, code="unservable", path=file) from error


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in weights]


def _input_of(file: Path, description: Path, model: onnx.ModelProto, stated: _Input) -> NetworkInput:
    """What the encoder takes, by its description and its graph.

    Raises:
        ModelFileError: It takes no images, the two contradict each other, or something has to be stated.
    """
    inputs = _inputs(model)
    names = [one.name for one in inputs]
    kinds = [one.type.tensor_type.elem_type for one in inputs]
    whole = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    if set(names) & set(TEXT) or (kinds and set(kinds) <= whole):
        msg = f"{file}: takes {', '.join(names)}: a text encoder. Give the image encoder of the same model."
        raise ModelFileError(msg, code="text-encoder", path=file)
    shape = [d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(shape) != 4:
        what = ", ".join(f"{one.name} of {len(one.type.tensor_type.shape.dim)} dimensions" for one in inputs)
        msg = f"{file}: takes {what or 'nothing'}; an image encoder takes one input of four dimensions. Export it so."
        raise ModelFileError(msg, code="wrong-input", path=file)
    told: dict[str, object] = stated.model_dump(exclude_none=True)
    layouts = [
        layout
        for layout, place in (("NCHW", 1), ("NHWC", 3))
        if told.get("channels", shape[place]) in (1, 3) and shape[place] in (None, 1, 3)
    ]
    layout = told.get("layout") or (layouts[0] if len(layouts) == 1 else None)
    if layout is None and (shape[1] in (1, 3)) != (shape[3] in (1, 3)):
        layout = "NCHW" if shape[1] in (1, 3) else "NHWC"  # one of the two is fixed, and the other is not
    missing = [] if layout else ["layout", *(key for key in ("size", "channels") if key not in told)]
    if layout:
        channels = shape[1] if layout == "NCHW" else shape[3]
        sides = shape[2:] if layout == "NCHW" else shape[1:3]
        for key, seen in (("channels", {channels}), ("size", set(sides))):
            fixed = seen - {None}
            if len(fixed) > 1 or (fixed and key in told and told[key] not in fixed):
                says = f"the description says {key} = {told[key]}" if key in told else "hilum's images are square"
                msg = (
                    f"{file}: its input has the shape {[side or '?' for side in shape]} ({layout}), and {says}. "
                    f"Correct [input] of {description.name}."
                )
                raise ModelFileError(msg, code="contradicting-input", path=file)
            if not fixed and key not in told:
                missing.append(key)
            told.setdefault(key, next(iter(fixed), None))
        told["layout"] = layout
    if kinds[0] == onnx.TensorProto.UINT8:
        told.setdefault("range", (0.0, 255.0))
    elif "range" not in told and not {"mean", "std"} <= told.keys():
        missing.append("range, or mean and std")
    if missing:
        example = 'layout = "NCHW", size = 224, channels = 3, range = [0.0, 1.0], mean = [0.5], std = [0.5]'
        msg = (
            f"{file}: its graph does not say {' nor '.join(missing)} of its input. State that in [input] of "
            f"{description}, such as {example}."
        )
        raise ModelFileError(msg, code="unstated-input", path=file)
    try:
        return NetworkInput.model_validate(told)
    except ValidationError as error:
        msg = f"{file}: cannot be given images ({faults(error)}). Correct [input] of {description.name}."
        raise ModelFileError(msg, code="malformed-description", path=file) from error


def _output_of(file: Path, description: Path, model: onnx.ModelProto, name: str) -> str:
    outputs = {
        one.name: [d.dim_value or d.dim_param or "?" for d in one.type.tensor_type.shape.dim]
        for one in model.graph.output
    }
    listed = ", ".join(f"{output} {shape}" for output, shape in outputs.items())
    if name and name not in outputs:
        msg = f"{file}: has no output '{name}' (there are: {listed}). Correct [output] name in {description.name}."
        raise ModelFileError(msg, code="no-output", path=file)
    if not name and len(outputs) != 1:
        msg = f"{file}: has several outputs ({listed}). Name one: [output] name in {description}."
        raise ModelFileError(msg, code="several-outputs", path=file)
    return name or next(iter(outputs))


def _kept(file: Path, sha256: str, model: onnx.ModelProto, output: str) -> Path:
    """The encoder as a file of the cache: for any number of images, in one piece, with one output."""
    name = hashlib.sha256(f"{sha256}:{output}:{onnx.__version__}".encode()).hexdigest()[:32]
    kept = cache_folder() / FOLDER / f"{name}.onnx"
    if kept.is_file():
        return kept
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph = whole.graph
    for part in (*_inputs(whole), *graph.output):
        if part.type.tensor_type.shape.dim:
            part.type.tensor_type.shape.dim[0].Clear()
            part.type.tensor_type.shape.dim[0].dim_param = "batch"
    for other in [one for one in graph.output if one.name != output]:
        graph.output.remove(other)
    del graph.value_info[:], whole.metadata_props[:], whole.training_info[:]
    version = next((one.version for one in whole.opset_import if one.domain in ("", "ai.onnx")), 0)
    try:
        if version < OPSET:
            from onnx import version_converter

            whole = version_converter.convert_version(whole, OPSET)
        content: bytes = whole.SerializeToString(deterministic=True)
    except Exception as error:  # of the converter, which has no class of its own for them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        msg = f"{file}: its operators of version {version} cannot be raised to {OPSET} ({reason}). Export it again."
        raise ModelFileError(msg, code="old-operators", path=file) from error
    try:
        make_private(kept.parents[1])
        make_private(kept.parent)
        save_bytes(kept, content)
    except OSError as error:
        msg = f"{kept}: cannot be written ({error.strerror}). Free some space, or set HILUM_CACHE to another folder."
        raise CacheError(msg) from error
    return kept


def _check_any_number(file: Path, encoder: Encoder) -> None:
    """Find a graph that was made for one number of images."""
    size = encoder.input.size
    images = encoder.taken(np.random.default_rng(0).integers(0, 256, (2, size, size), np.uint8))
    answers, failed = [], []
    for given in (images, images[:1]):
        try:
            answers.append(encoder.run(given))
        except ModelFileError as error:
            failed.append(error)
    if len(failed) == 2:
        raise failed[0]
    same = not failed and len(answers[0]) == 2 and np.allclose(answers[0][:1], answers[1], atol=1e-2)
    if not same:
        msg = (
            f"{file}: its graph holds for one number of images only. Export the encoder with a dynamic batch axis "
            "(dynamic_axes or dynamic_shapes of torch.onnx.export)."
        )
        raise ModelFileError(msg, code="fixed-batch", path=file)
