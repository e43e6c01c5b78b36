"""From several trained runs to one: the geometric mean of their probabilities."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import prod
from pathlib import Path

from hilum.data.images import MOST_PIXELS_OF_VIEWS, MOST_VIEWS
from hilum.data.preprocessing import Stacked
from hilum.errors import CheckpointError, RunError, UsageError
from hilum.evaluation.certificate_check import FILE as CERTIFICATE
from hilum.evaluation.inference import trained_network
from hilum.evaluation.ood_reference import ARRAYS as REFERENCE
from hilum.evaluation.prior_step import FILE as PRIOR
from hilum.evaluation.temperature import FILE as TEMPERATURES
from hilum.models.mixed import MixedEnsemble
from hilum.models.registry import ENSEMBLE
from hilum.progress import Progress
from hilum.training.checkpoints import save_checkpoint, weights_sha256
from hilum.training.encoder_head import has_encoder
from hilum.training.environment import EnsembleMember, Environment, describe_machine
from hilum.training.initialisation import without_path
from hilum.training.lock import occupied
from hilum.training.plan import EncoderChoice, NetworkChoice
from hilum.training.recipe import Recipe
from hilum.training.run import ENCODER_FILE, ENVIRONMENT, RECIPE, SPLIT, Run
from hilum.training.train import check_free


def make_ensemble(runs: Sequence[Run], out: Path, *, progress: Progress | None = None) -> Run:
    """Make one run of several, whose members may differ in preprocessing, network and recipe.

    Weights are copied: what becomes of the members' folders does not matter afterwards. Temperatures, prior step,
    certificate and OOD reference of the members are not taken over; those of the new run are its own.

    Args:
        runs: Finished runs of the same images, labels and splits, at least two.
        out: New folder.
        progress: Told which of these the members have, and how the new run gets its own.

    Raises:
        UsageError: There are fewer than two runs, or one that cannot be a member.
        RunError: A run is not finished, the runs are of other images, labels or splits, `out` is in the way, used by
            another process or cannot be written.
        CheckpointError: The weights of a run are not those with which its training ended.
    """
    progress = progress or Progress()
    check_members(runs)
    with occupied(out, "ensemble", lambda: check_free(out, resumable=False)):
        networks = [trained_network(run) for run in runs]
        network = MixedEnsemble(networks, _preprocessing_of(runs)).eval()
        with _whole_or_not_at_all(out):
            made = _write(runs, network, out)
    for line in _left_behind(runs, out):
        progress.line(line)
    return made


def _write(runs: Sequence[Run], network: MixedEnsemble, out: Path) -> Run:
    made = Run(out)
    save_checkpoint(made.best, {"network": network.state_dict()})
    shutil.copyfile(runs[0].path / SPLIT, out / SPLIT)
    kept = [RECIPE, SPLIT]
    for run in runs:
        if has_encoder(run.recipe):
            shutil.copyfile(run.encoder_file, out / ENCODER_FILE)
            kept.append(ENCODER_FILE)
    made.write_recipe(_recipe_of(tuple(map(_named, runs))))
    made.write_environment(_environment_of(runs, weights_sha256(network), made.hashes(*kept)))
    return made


@contextmanager
def _whole_or_not_at_all(out: Path) -> Iterator[None]:
    """Remove the files of an ensemble that could not be finished, so that the next try finds a free folder.

    Raises:
        RunError: The disk is full, or refuses for another reason.
    """
    try:
        yield
    except BaseException as error:
        made = Run(out)
        with suppress(OSError):
            for file in (made.best, *(out / name for name in (SPLIT, RECIPE, ENVIRONMENT, ENCODER_FILE))):
                file.unlink(missing_ok=True)
            made.best.parent.rmdir()
        if not isinstance(error, OSError | CheckpointError):
            raise
        cause = error.__cause__ or error  # `save_checkpoint` speaks of trainings, which can be resumed
        why = getattr(cause, "strerror", None) or cause
        msg = f"{out}: cannot be written ({why}). Free some space, or choose another --out."
        raise RunError(msg, code="unwritable", path=out) from error


def _left_behind(runs: Sequence[Run], out: Path) -> Iterator[str]:
    """What members have, and the ensemble does not take over: a line for each member, and how it is made anew."""
    remedies: list[str] = []
    for run in runs:
        found = {what: remedy for what, file, remedy in OWN if (run.path / file).exists()}
        if found:
            yield f"{run.path}: not taken over: {', '.join(found)}"
            remedies += found.values()
    if remedies:
        yield f"make them for the ensemble: {', '.join(remedy.format(out) for remedy in dict.fromkeys(remedies))}"


OWN = (  # what holds for the network of a run alone: its name, its file, and the command that makes it
    ("temperatures", TEMPERATURES, "hilum evaluate {}"),
    ("out-of-distribution reference", REFERENCE, "hilum evaluate {}"),
    ("prior step", PRIOR, "hilum prior {}"),
    ("certificate", CERTIFICATE, "hilum certify {}"),
    ("certificates of other data", "certificates", "hilum certify {} DATA"),
)


def check_members(runs: Sequence[Run]) -> None:
    """Find runs that cannot be members of one ensemble.

    Raises:
        UsageError: There are fewer than two, one is an ensemble of runs itself, several have a frozen encoder, or they
            take more pixels of an image than a model file may.
        RunError: One is not finished, or they are of other images, labels or splits.
    """
    if len(runs) < 2:
        msg = "an ensemble needs two runs or more. Name another one."
        raise UsageError(msg, code="too-few-members")
    for run in runs:
        if not run.finished:
            msg = f"{run.path}: the training is not finished. Continue with hilum train DATA --out {run.path} --resume"
            raise RunError(msg, code="unfinished", path=run.path)
        if run.recipe.members:
            msg = f"{run.path}: is an ensemble of runs itself. Name the runs that it was made of."
            raise UsageError(msg, code="nested-ensemble")
    encoded = [str(run.path) for run in runs if has_encoder(run.recipe)]
    if len(encoded) > 1:
        msg = (
            f"{', '.join(encoded)}: each has a frozen encoder, and an ensemble takes one such member. Keep one of them."
        )
        raise UsageError(msg, code="several-encoders")
    taken = _preprocessing_of(runs)
    if len(taken.views) > MOST_VIEWS or prod(taken.shape) > MOST_PIXELS_OF_VIEWS:
        msg = (
            f"the members take {len(taken.views)} images of up to {taken.size} x {taken.size} pixels of each "
            f"radiograph, {prod(taken.shape):,} pixels together; at most {MOST_VIEWS} images and "
            f"{MOST_PIXELS_OF_VIEWS:,} pixels are allowed. Leave out some members, or give them the same preprocessing."
        )
        raise UsageError(msg, code="too-many-pixels")
    first = runs[0]
    for run in runs[1:]:
        for what, code, value in SAME:
            if (found := value(run)) != (wanted := value(first)):
                shown = "" if code in ("other-images", "other-splits") else f" ({_shown(found)}; {_shown(wanted)})"
                msg = f"{run.path}: has other {what} than {first.path}{shown}. {_remedy(code, first, run)}"
                raise RunError(msg, code=code, path=run.path)


SAME: tuple[tuple[str, str, Callable[[Run], object]], ...] = (
    ("kinds of labels", "other-task", lambda run: "findings" if run.findings else "exclusive labels"),
    ("labels", "other-labels", lambda run: run.labels),
    ("positive or healthy labels", "other-roles", lambda run: (run.positive_label, *run.healthy)),
    ("images", "other-images", lambda run: run.environment.data.digest),
    ("splits", "other-splits", lambda run: [(row.path, row.split, row.patient_id, row.label) for row in run.rows]),
)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _remedy(code: str, first: Run, second: Run) -> str:
    if code != "other-splits":
        return "Train both on the same dataset and labels."
    for one, other in ((first, second), (second, first)):
        tested = {row.patient_id or row.path for row in other.rows if row.split == "test"}
        learnt = {row.patient_id or row.path for row in one.rows if row.split in ("train", "val")}
        if count := len(tested & learnt):
            return f"{one.path} has seen {count:,} of the test patients of {other.path}. Train with the same splits."
    return "Train both with the same settings of splits."


def _recipe_of(recipes: tuple[Recipe, ...]) -> Recipe:
    """The recipe of the ensemble: that of the first member where one is needed, and those of all."""
    first = recipes[0]
    return first.model_copy(
        update={
            "name": ENSEMBLE,
            "hierarchy": first.hierarchy if len({recipe.hierarchy for recipe in recipes}) == 1 else "flat",
            "network": NetworkChoice(architecture=ENSEMBLE, ensemble_size=len(recipes)),
            "encoder": EncoderChoice(),
            "preprocessing": Stacked.of([recipe.preprocessing for recipe in recipes]).views[0],
            "members": recipes,
        }
    )


def _preprocessing_of(runs: Sequence[Run]) -> Stacked:
    return Stacked.of([run.recipe.preprocessing for run in runs])


def _named(run: Run) -> Recipe:
    """The recipe of a run, in which first weights and encoder have their name: a path tells of the machine."""
    return Recipe.model_validate(without_path(run.recipe, run.environment.initial))


def _environment_of(runs: Sequence[Run], weights: str, files: dict[str, str]) -> Environment:
    """What is known of the ensemble: of its data what the first member says, and which members it has."""
    first = runs[0].environment
    given = {name: value for name, value in first.given().items() if name in ("task", "audit", "data")}
    return Environment(
        **describe_machine(first.precision).given(),
        **given,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        labels=list(runs[0].labels),
        positive_label=runs[0].positive_label,
        healthy=list(runs[0].healthy),
        parameters=sum(run.environment.parameters or 0 for run in runs),
        weights_sha256=weights,
        members=[
            EnsembleMember(
                name=run.name,
                weights_sha256=run.environment.weights_sha256,
                hilum=run.environment.hilum,
                initial=run.environment.initial,
                encoder=run.environment.encoder,
            )
            for run in runs
        ],
        files=files,
    )
