"""The recipe: a TOML file with every choice of a training, checked key by key."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pydantic import BaseModel, SerializerFunctionWrapHandler, ValidationError, field_validator, model_serializer

from hilum.data.preprocessing import Preprocessing
from hilum.data.splits import SplitPlan
from hilum.earlier import RECIPES, recipe_of_today, setting_of_today
from hilum.errors import RecipeError
from hilum.files import read_text
from hilum.text import is_text
from hilum.training.plan import Augmentation, EncoderChoice, NetworkChoice, Part, TrainingPlan


def _is_table(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


class Recipe(Part):
    """Every choice of a training.

    Attributes:
        name: Name of the recipe in reports.
        positive_label: Label that must not be missed. ``auto`` is COVID-19 where a label names it (``Viral-COVID19``,
            ``SARS-CoV-2``); ``none``: no label.
        healthy: Label that means that nothing was found. ``auto`` goes by names such as ``normal``; ``none``: no label.
        hierarchy: Use of nested labels. ``flat``: one classifier for all labels. ``cascade``: one classifier for each
            node of the label hierarchy (normal or infected, then which infection).
        members: Of an ensemble of trained runs, which `hilum ensemble` writes, the recipe of each.
    """

    name: str = "unnamed"
    positive_label: str = "auto"
    healthy: str = "auto"
    hierarchy: Literal["flat", "cascade"] = "flat"
    network: NetworkChoice = NetworkChoice()
    encoder: EncoderChoice = EncoderChoice()
    preprocessing: Preprocessing = Preprocessing()
    splits: SplitPlan = SplitPlan()
    augmentation: Augmentation = Augmentation()
    training: TrainingPlan = TrainingPlan()
    members: tuple[Recipe, ...] = ()

    @field_validator("positive_label", "healthy", mode="before")
    @classmethod
    def _labels_are_text(cls, label: Any) -> Any:
        """A label called 0 is a number to TOML."""
        return (
            str(label).lower() if isinstance(label, bool) else str(label) if isinstance(label, int | float) else label
        )

    @model_serializer(mode="wrap")
    def _without_unused(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out encoder and members where there are none: versions before do not know them."""
        unused = {"encoder"} if self.encoder == EncoderChoice() else set()
        unused |= set() if self.members else {"members"}
        return {key: value for key, value in serialise(self).items() if key not in unused}

    def to_toml(self) -> str:
        """The whole recipe, defaults included, as TOML."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json"))


SYNONYMS = {  # what Keras, Lightning, timm and scikit-learn call it
    "training.lr": "learning_rate learningrate base_lr initial_lr init_lr max_lr eta alpha0",
    "training.batch_size": "batchsize batch bs train_batch_size",
    "training.epochs": "num_epochs n_epochs nepochs max_epochs epoch nb_epoch",
    "training.max_steps": "steps iterations max_iter max_iterations num_steps",
    "training.optimiser": "optimizer optim opt solver",
    "training.schedule": "scheduler lr_scheduler lr_schedule sched",
    "training.weight_decay": "wd l2 decay",
    "training.class_weights": "class_weight weights loss_weights weighted sample_weight",
    "training.label_smoothing": "smoothing",
    "training.mixup": "mixup_alpha",
    "training.monitor": "early_stopping checkpoint_metric metric",
    "training.precision": "amp fp16 bf16 half mixed_precision dtype",
    "training.seed": "random_seed random_state manual_seed",
    "preprocessing.size": "image_size img_size imgsz input_size resolution resize img_height img_width target_size",
    "preprocessing.equalise": "equalize histogram_equalization histeq",
    "network.architecture": "model model_name arch backbone net",
    "augmentation.rotate": "rotation rotation_range degrees",
    "augmentation.hflip": "flip horizontal_flip random_flip mirror",
    "augmentation.translate": "translation shift width_shift_range height_shift_range",
    "augmentation.scale": "zoom zoom_range",
    "splits.fraction": "val_split validation_split val_size val_fraction test_size test_split holdout",
    "positive_label": "positive pos_label target_label",
}
AUTO = "auto"  # in place of a recipe's name: chosen by the data
PRETRAINED = "pretrained weights_pretrained imagenet"
FINE_TUNED = "ImageNet's weights: --recipe finetune. Those of a run or a file: --set network.init=RUN|FILE"
HARDWARE = "hilum selects GPU and cores automatically: omit it"
CHOSEN = "device cuda gpu gpus accelerator cpu mps num_workers workers n_jobs threads"
TABLES = tuple(name for name, field in Recipe.model_fields.items() if _is_table(field.annotation))


def recipe_names() -> list[str]:
    """Names of the recipes that come with hilum."""
    folder = resources.files("hilum.recipes")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a file, and change single values.

    Args:
        name: One of `recipe_names`, or a TOML file.
        settings: ``key=value`` each. The key is written in full (``training.lr``) or by its last part where that
            is unambiguous (``lr``); the value as in TOML, quotes around plain words optional. A whole table may be
            replaced: ``augmentation={rotate=10}`` rotates and does nothing else.

    Raises:
        RecipeError: The recipe is not there or is not TOML, a key is unknown or ambiguous, a value impossible.
    """
    text, where = _find(name)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers too long, and of lists too deep
        msg = f"{where}: not valid TOML: {error}. Correct that line."
        raise RecipeError(msg, code="malformed-toml") from error
    for setting in settings:
        _set(values, setting)
    return parse_recipe(values, where)


def parse_recipe(values: Mapping[str, object], where: str) -> Recipe:
    """Check a recipe's values.

    Raises:
        RecipeError: A key is unknown or a value impossible; all of them are named at once.
    """
    try:
        return Recipe.model_validate(recipe_of_today(values))
    except ValidationError as error:
        msg = f"{where}: " + " ".join(_explain(problem) for problem in error.errors())
        raise RecipeError(msg, code="impossible-value") from error


def _find(name: str | Path) -> tuple[str, str]:
    name = RECIPES.get(str(name), name)
    path = Path(name)
    if str(name) == AUTO and not path.exists():
        msg = (
            f"recipe '{AUTO}': only hilum train chooses a recipe, once for its data. Name one here: "
            f"{', '.join(recipe_names())}."
        )
        raise RecipeError(msg, code="auto-elsewhere")
    if str(name) in recipe_names():
        return (resources.files("hilum.recipes") / f"{name}.toml").read_text(encoding="utf-8"), f"recipe {name}"
    try:
        return read_text(path, encoding="utf-8-sig"), str(path)
    except (OSError, ValueError) as error:
        known = ", ".join(recipe_names())
        msg = f"recipe '{name}': neither a built-in recipe ({known}) nor a readable TOML file."
        raise RecipeError(msg, code="no-such-recipe") from error


def _keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if _is_table(field.annotation):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        elif name != "members":  # `hilum ensemble` writes them
            yield prefix + name


def resolve_key(key: str, value: str = "VALUE") -> str:
    """The full name of a recipe's key: ``training.lr`` for ``lr``; a whole table, such as ``augmentation``, too.

    Args:
        key: In full, or its last part.
        value: Which it is to be set to, for the message.

    Raises:
        RecipeError: No key, or more than one, is called so.
    """
    if key == "encoder" and not value.startswith("{"):
        return "encoder.file"
    if key.startswith("network.options.") or key in TABLES:
        return key
    matches = [full for full in _keys() if full == key] or [f for f in _keys() if f.endswith(f".{key}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        msg = f"'{key}' could be {' or '.join(matches)}. Write one of them."
        raise RecipeError(msg, code="ambiguous-key")
    raise RecipeError(_unknown(key, value), code="unknown-key")


def change_recipe(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """A recipe with other values of some keys.

    Args:
        recipe: What is changed.
        settings: Values by key, in full or by its last part; of a whole table the keys that change.

    Raises:
        RecipeError: A key is unknown or ambiguous, or a value is impossible.
    """
    changed = recipe.model_dump()
    for key, value in settings.items():
        *tables, last = resolve_key(key, str(value)).split(".")
        place = changed
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = {**place.get(last, {}), **value} if isinstance(value, Mapping) else value
    return parse_recipe(changed, f"recipe '{recipe.name}'")


def without_init(recipe: Recipe) -> Recipe:
    """A recipe that begins with freshly drawn weights."""
    return recipe.model_copy(update={"network": recipe.network.model_copy(update={"init": ""})})


def short_key(key: str) -> str:
    """A key by its last part, where no other key of a recipe ends so."""
    last = key.rsplit(".", 1)[-1]
    return (
        last if key.startswith("network.options.") or [k for k in _keys() if k.endswith(f".{last}")] == [key] else key
    )


def _set(values: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not is_text(setting):
        msg = f"--set {setting}: not UTF-8. Write it in UTF-8."
        raise RecipeError(msg)
    if not equals:
        msg = f"--set {setting}: write key=value, for example --set lr=0.001."
        raise RecipeError(msg, code="malformed-setting")
    key, value = setting_of_today(key.strip(), value.strip())
    *tables, last = resolve_key(key, value).split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            msg = f"--set {setting}: '{table}' is a table, but the recipe gives it a plain value. Correct the recipe."
            raise RecipeError(msg)
    values[last] = parse_value(value)


def parse_value(text: str) -> Any:
    """A value as in TOML; what is none is a plain word."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        return text.strip()


def suggestion(key: str, value: str = "VALUE") -> str:
    """How to write what somebody means by a key that no recipe has; empty where nothing is like it.

    Args:
        key: As another library calls it, or misspelt.
        value: Which is to be set.
    """
    last = key.rsplit(".", 1)[-1].lower()
    if last in CHOSEN.split():
        return HARDWARE
    if last in PRETRAINED.split():
        return FINE_TUNED
    if last == "devices":
        return f"It belongs to no recipe. Use: --devices {value}"
    full = list(_keys())
    endings = {name.rsplit(".", 1)[-1]: name for name in full}
    exact = [name for name in full if name.rsplit(".", 1)[-1] == last]
    if exact:  # of an option: a key may be ambiguous
        return f"Use: {' or '.join(f'--set {name if len(exact) > 1 else last}={value}' for name in exact)}"
    meant = next((name for name, others in SYNONYMS.items() if last in others.split()), "")
    close = difflib.get_close_matches(key, full, n=1, cutoff=0.7)
    close = close or [endings[name] for name in difflib.get_close_matches(last, endings, n=1, cutoff=0.7)]
    found = meant or (close[0] if close else "")
    return (
        f"Did you mean '{found}'? Use: --set {found if 'options' in found else short_key(found)}={value}"
        if found
        else ""
    )


def _unknown(key: str, value: str = "VALUE") -> str:
    where = f"Keys are in the tables {', '.join(TABLES)}; the page of recipe keys in the documentation lists them"
    return f"unknown key '{key}'. {suggestion(key, value) or where}."


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown(key)
    return f"{key} = {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def flatten(nested: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """``{"a": {"b": 1}}`` as ``[("a.b", "1")]``, the way `hilum train --set` spells keys."""
    rows: list[tuple[str, str]] = []
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(part, Mapping) for part in value):
            rows += flatten({str(number): part for number, part in enumerate(value, 1)}, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False, default=str)))
    return rows
