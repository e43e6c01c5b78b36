"""What card and report say of a run's preprocessing, seeds, network and first weights: of an ensemble by member."""

from __future__ import annotations

from collections.abc import Sequence

from hilum.data.preprocessing import Preprocessing, Stacked
from hilum.training.environment import EncoderFacts, EnsembleMember, Environment, InitialWeights
from hilum.training.recipe import Recipe
from hilum.training.run import Run

CASCADE = "cascade of one network per node"


def preprocessing_of(run: Run) -> str:
    """The preprocessing, of an ensemble that of each member, and its hash."""
    chosen = run.preprocessing
    parts = [str(part.model_dump()) for part in (chosen.parts if isinstance(chosen, Stacked) else (chosen,))]
    return f"{_numbered(parts) if run.recipe.members else parts[0]}, SHA-256 {chosen.digest()[:16]}"


def seeds_of(recipe: Recipe) -> str:
    """The random seed of the training, or those of all members."""
    if not recipe.members:
        return f"seed {recipe.training.seed}"
    return f"seeds {', '.join(str(member.training.seed) for member in recipe.members)} of the members"


def network_of(run: Run) -> str:
    """Architecture, hierarchy and first weights."""
    recipe, environment = run.recipe, run.environment
    if not recipe.members:
        return f"{_kind(recipe)}, from {beginning(environment.initial, environment.encoder)}"
    pairs = zip(recipe.members, environment.members, strict=False)
    told = [f"{_kind(member)}, from {beginning(known.initial, known.encoder)}" for member, known in pairs]
    return f"ensemble of {len(recipe.members)} trained runs: {_numbered(told)}"


def structure_of(recipe: Recipe) -> str:
    """What stands in brackets behind the network's name; empty of a single flat network."""
    if not recipe.members:
        return CASCADE if recipe.hierarchy != "flat" else ""
    told = [", ".join(filter(None, (member.network.architecture, structure_of(member)))) for member in recipe.members]
    return f"of {len(told)} trained runs: {_numbered(told)}"


def input_of(preprocessing: Preprocessing) -> str:
    """``1 × 150 × 150``: how many images the network takes of a radiograph, and their sides in pixels."""
    shape = preprocessing.shape
    return " × ".join(map(str, shape if len(shape) == 3 else (1, *shape)))


def made_by(environment: Environment) -> str:
    """A sentence: which hilum trained the run, and from what; of an ensemble which trained each member."""
    if not environment.members:
        began = beginning(environment.initial, environment.encoder)
        return f"Trained by hilum {environment.hilum} from {began}."
    told = [
        f"{one.name}, trained by hilum {one.hilum or 'of an unknown version'} "
        f"from {beginning(one.initial, one.encoder)}"
        for one in environment.members
    ]
    return f"Made by hilum {environment.hilum} of trained runs: {_numbered(told)}."


def began_with(initial: InitialWeights | None, members: Sequence[EnsembleMember] = ()) -> list[str]:
    """A sentence on weights from elsewhere; none where all were freshly drawn."""
    if any(one.initial or one.encoder for one in members):
        told = [f"{one.name}: {beginning(one.initial, one.encoder)}" for one in members]
        return [f"The members began with: {_numbered(told)}."]
    return [f"It began with {beginning(initial)}."] if initial else []


def beginning(initial: InitialWeights | None, encoder: EncoderFacts | None = None) -> str:
    """The weights with which a training began, behind ``from``: their origin, licence and hash."""
    if encoder:
        terms = f"; {encoder.terms}" if encoder.terms else ""
        return f"the frozen encoder {encoder.name} (licence: {encoder.licence}{terms}; SHA-256 {encoder.sha256[:16]})"
    if not initial:
        return "freshly drawn weights"
    layers = f"{initial.loaded} of {initial.loaded + len(initial.fresh)} layers"
    origin = f"; {initial.origin}" if initial.origin else ""
    return f"weights of {initial.name} ({layers}{origin}; licence: {initial.licence}; SHA-256 {initial.sha256[:16]})"


def _kind(recipe: Recipe) -> str:
    return f"{recipe.network.architecture}, {recipe.hierarchy}"


def _numbered(parts: Sequence[str]) -> str:
    return "; ".join(f"({number}) {part}" for number, part in enumerate(parts, 1))
