"""Recipe ``auto``: which recipe suits a dataset, by its number of patients and a short comparison within train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hilum.auditing.near_duplicates.groups import find_groups
from hilum.data.cache import open_images
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.options import ReadOptions
from hilum.data.ray_pool import pool_of
from hilum.data.readers.read import read_table
from hilum.data.splits import assign_splits, independent_groups
from hilum.errors import ExtraError, SplitError
from hilum.evaluation.folds import assign_folds, by_patient
from hilum.evaluation.inference import predict
from hilum.extras import require
from hilum.models.efficientnet_lite import WEIGHTS
from hilum.progress import Progress
from hilum.ray_engine import check_engine
from hilum.stats.auc import aurocs
from hilum.training.encoder_head import APPLY
from hilum.training.recipe import Recipe, load_recipe, resolve_key
from hilum.training.run import RECIPE, Run
from hilum.training.train import check_free, train

MANY = 2000  # patients from which on weights from elsewhere are worth less than the speed of a small network
PARTS = 4  # one of them is held out
NEAR = 0.005  # difference of mean AUROC within which the cheaper recipe is taken
CANDIDATES = ("encoder", "compact", "finetune")  # the cheaper first
SHORT = {"finetune": ["training.epochs=4"]}
ENCODER = "efficientnet-lite0"
OF_NETWORKS = ("network", "augmentation", "hierarchy")


@dataclass(frozen=True)
class RecipeChoice:
    """A recipe, why it was chosen, and the mean AUROC of those that were compared, if any were.

    Attributes:
        table: The dataset, with the reason among its notes.
    """

    recipe: Recipe
    why: str
    areas: dict[str, float]
    table: Dataset


def choose_recipe(
    data: Path | Dataset,
    settings: Sequence[str] = (),
    *,
    read: ReadOptions | None = None,
    engine: str = "local",
    address: str = "",
    progress: Progress | None = None,
) -> RecipeChoice:
    """Choose between the recipes ``compact``, ``encoder`` and ``finetune``.

    From `MANY` patients of train on it is ``compact``. Below, all are trained on three quarters of the patients of
    train, ``finetune`` for four epochs, and the largest mean AUROC of the labels on the remaining quarter decides; of
    recipes within `NEAR` of it, the cheapest. Neither validation nor test images are seen. Where these patients are too
    few to hold a quarter out, or an image may have several findings, it is ``encoder``.

    Args:
        data: A dataset, or where one is.
        settings: ``key=value``, as for `load_recipe`; those of the table ``encoder`` are for that recipe alone, and it
            passes over those with which networks are trained.
        read: How to read `data`.
        engine: Who decodes the images, as for `hilum.training.train.train`.
        address: Of a Ray cluster.
        progress: Told.

    Raises:
        ExtraError: Fewer patients, and the weights of the extra ``[encoders]`` are not installed.
        DataError: The data cannot be used.
        RecipeError: A setting is impossible for one of the recipes.
    """
    check_engine(engine, address)
    progress = progress or Progress()
    table = data if isinstance(data, Dataset) else read_table(data, read, progress)
    check_one_finding(table)
    recipes = {name: _load(name, settings) for name in CANDIDATES}
    plan = recipes["compact"].splits
    pool = pool_of(engine, address, table)
    images = open_images(table, recipes["compact"].preprocessing, pool=pool, progress=progress)
    groups = find_groups(images, plan.duplicates, progress)
    names = assign_splits(images.table, plan, groups.numbers).names
    kept = [i for i, name in enumerate(names) if name == "train"]
    part = images.table.take(kept)
    part = replace(part, rows=tuple(replace(row, split="") for row in part.rows), notes=())
    numbers = [groups.numbers[i] for i in kept]
    patients = len(set(independent_groups(part, numbers)))
    told = f"train has {patients:,} {'patients' if table.patients_known else 'independent images'}"
    if patients >= MANY:
        return _chosen(table, recipes, "compact", f"{told}, {MANY:,} or more", {}, progress)
    try:
        require("encoders", f"recipe auto ({told}, fewer than {MANY:,})", WEIGHTS)
    except ExtraError as error:
        msg = f"{error}. Or name a recipe: --recipe compact."
        raise ExtraError(msg) from error
    if part.findings:
        return _chosen(table, recipes, "encoder", f"{told}, and images may have several findings", {}, progress)
    try:
        folds = by_patient(part, assign_folds(part, PARTS, plan.seed, numbers))
    except SplitError:
        return _chosen(table, recipes, "encoder", f"{told}, too few to compare recipes", {}, progress)
    divided = folds[0].divide(part)
    divided = replace(
        divided, rows=tuple(replace(row, split="val" if row.split == "test" else "train") for row in divided.rows)
    )
    areas = {}
    with TemporaryDirectory(prefix="hilum-") as folder:
        for name in CANDIDATES:
            areas[name] = _area(divided, Path(folder) / name, _load(name, [*settings, *SHORT.get(name, ())]), progress)
            progress.line(f"recipe {name}: mean AUROC {areas[name]:.3f} on held-out patients of train")
    best = max(areas.values())
    name = next(name for name in CANDIDATES if areas[name] >= best - NEAR)
    listed = ", ".join(f"{other} {area:.3f}" for other, area in areas.items())
    held = sum(row.split == "val" for row in divided.rows)
    why = f"{told}; mean AUROC on {held:,} images of held-out patients of train: {listed}"
    return _chosen(table, recipes, name, why, areas, progress)


def choose_for(
    data: Path | Dataset,
    out: Path,
    settings: Sequence[str],
    *,
    resume: bool,
    read: ReadOptions | None,
    engine: str,
    address: str,
    progress: Progress,
) -> tuple[Path | Dataset, Recipe | None]:
    """The data and the recipe of a training whose recipe is ``auto``; None to continue with that of the run.

    Args:
        data: As for `choose_recipe`.
        out: The run folder, which has to be free before anything is compared.
        settings: As for `choose_recipe`.
        resume: Whether a run that has its recipe is continued.
        read: How to read `data`.
        engine: As for `choose_recipe`.
        address: As for `choose_recipe`.
        progress: Told.

    Raises:
        RunError: `out` is in the way.
    """
    if resume and (out / RECIPE).is_file():
        return data, None
    if not resume:
        check_free(out)
    found = choose_recipe(data, settings, read=read, engine=engine, address=address, progress=progress)
    return found.table, found.recipe


def _chosen(
    table: Dataset, recipes: dict[str, Recipe], name: str, why: str, areas: dict[str, float], progress: Progress
) -> RecipeChoice:
    why = f"recipe auto is {name}: {why}"
    progress.line(why)
    return RecipeChoice(recipes[name], why, areas, replace(table, notes=(*table.notes, why)))


def _load(name: str, settings: Sequence[str]) -> Recipe:
    """A candidate with the settings that are for it."""
    if name != "encoder":
        return load_recipe(name, [one for one in settings if not one.startswith("encoder")])
    kept = [one for one in settings if _for_an_encoder(one.partition("=")[0].strip())]
    named = any(one.startswith(("encoder=", "encoder.file=")) for one in kept)
    return load_recipe(name, [*([] if named else [f"encoder.file={ENCODER}"]), *kept])


def _for_an_encoder(key: str) -> bool:
    """Whether a key of a recipe is none of those with which a network is trained."""
    table, _, last = resolve_key(key).partition(".")
    return (
        table not in OF_NETWORKS and (table != "training" or last in APPLY) and last not in ("size", "local_contrast")
    )


def _area(table: Dataset, out: Path, recipe: Recipe, progress: Progress) -> float:
    """Mean AUROC of the labels of train on the images of val."""
    plan = recipe.splits.model_copy(
        update={"val": "val", "test": "none", "calibration": "none", "duplicates": "identical"}
    )
    run = train(table, out, recipe.model_copy(update={"splits": plan}), check=False, progress=_Bars(progress))
    return _mean_area(run, table, progress)


def _mean_area(run: Run, table: Dataset, progress: Progress) -> float:
    images = open_images(table, run.preprocessing)
    held = images.select(i for i, row in enumerate(images.table.rows) if row.split == "val")
    stated = predict(run, held, run.labels, progress=progress)
    truth = np.array([row.label for row in held.table.rows])
    return float(np.nanmean(aurocs(stated.T, np.stack([truth == label for label in run.labels]))))


class _Bars(Progress):
    """Bars and states, without lines: a comparison's trainings are nobody's runs."""

    def __init__(self, told: Progress) -> None:
        self.task, self.status = told.task, told.status  # type: ignore[method-assign]
