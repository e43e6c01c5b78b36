"""What hilum 0.1 called things: keys of its files, recipe keys and values, options. Understood for one release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KEYS = {  # of JSON files, of their columns, and of the metadata of model files
    "protected": "positive_label",
    "n_protected": "n_positive",
    "architecture": "hierarchy",
    "display": "label_name",
    "miss_rate": "false_negative_rate",
    "missed_here": "false_negatives",
    "val_misses": "val_false_negatives",
    "smallest_val": "min_val_patients",
    "early_size": "progressive_size",
    "early_share": "progressive_fraction",
    "keep_from": "save_after",
    "reflect": "hflip",
    "select": "monitor",
    "p_familiar": "p_in_distribution",
    "noise_high": "ece_null_q95",
    "noise_floor": "ece_null_mean",
    "referred_as_missed": "recall_abstentions_negative",
    "referred_as_found": "recall_abstentions_positive",
    "referred_excluded": "selective_recall",
    "given_away": "confounded_labels",
    "not_judged": "not_scored",
    "suspects": "label_issues",
    "familiarity": "in_distribution",
    "familiarity_area": "in_distribution_area",
    "as_missed": "recall_abstentions_negative",
    "as_found": "recall_abstentions_positive",
    "of_decided": "selective_recall",
    "drop": "performance_drop",
    "most_probable": "argmax",
    "down_the_tree": "top_down",
    "given": "data_argument",
    "unit": "resampling_unit",
    "planted": "injected",
    "remarks": "card_intro",
}
RECIPE = {  # keys of a recipe, in full
    "protected": "positive_label",
    "architecture": "hierarchy",
    "network.name": "network.architecture",
    "network.members": "network.ensemble_size",
    "training.select": "training.monitor",
    "training.keep_from": "training.save_after",
    "training.early_size": "training.progressive_size",
    "training.early_share": "training.progressive_fraction",
    "augmentation.reflect": "augmentation.hflip",
    "splits.smallest_val": "splits.min_val_patients",
}
VALUES = {  # of recipe keys, as they are called today
    "training.monitor": {"misses": "false_negatives"},
    "training.class_weights": {"tree": "hierarchical"},
    **{f"splits.{split}": {"carve": "hold_out"} for split in ("val", "calibration", "test")},
}
RECIPES = {"seed": "vgg16-report"}
OPTIONS = {
    "--plant": "--inject",
    "--fix": "--clean",
    "--select": "--monitor",
    "--map": "--map-label",
    "--miss-rate": "--sensitivity",
    "--second-split": "--split-b",
    "--display": "--label-name",
    "--remarks": "--card-intro",
    "--explain-by": "--explain-method",
}


def current(document: Any) -> Any:
    """A document of version 0.1 with the keys of today; one of today, which has a ``schema_version``, as it is.

    Args:
        document: What JSON held. Keys that are labels of the document are left alone.
    """
    if not isinstance(document, Mapping) or "schema_version" in document:
        return document
    named = document.get("labels")  # of a foreign file anything
    labels = {label for label in named if isinstance(label, str)} if isinstance(named, list | Mapping) else set()
    dotted = {old: new for old, new in RECIPE.items() if "." in old}  # as a sweep has them
    return _renamed(document, {old: new for old, new in (KEYS | dotted).items() if old not in labels})


def _renamed(value: Any, keys: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, keys) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "network" in value and "preprocessing" in value and "training" in value:
        value = recipe_of_today(value)
    within = {old: new for old, new in keys.items() if old != "architecture"}  # which a network has, today
    found = {keys.get(key, key): _renamed(item, within if key == "network" else keys) for key, item in value.items()}
    return {key: _of_today(key, item) for key, item in found.items()}


def _of_today(key: str, value: Any) -> Any:
    """The value or values of a recipe's key under the names of today."""
    names = VALUES.get("training.monitor" if key == "monitor" else key)
    if names is None:
        return value
    if isinstance(value, list):
        return [_of_today(key, item) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def recipe_of_today(values: Mapping[str, object]) -> dict[str, Any]:
    """The values of a recipe under the keys of today, nested as TOML nests them."""
    found = {key: dict(item) if isinstance(item, Mapping) else item for key, item in values.items()}
    for old, new in RECIPE.items():
        table, key = _place(found, old)
        if table is not None and key in table:
            table.setdefault(new.rsplit(".", 1)[-1], table.pop(key))
    for name, renamed in VALUES.items():
        table, key = _place(found, name)
        if table is not None and isinstance(value := table.get(key), str):
            table[key] = renamed.get(value, value)
    return found


def _place(values: dict[str, Any], name: str) -> tuple[dict[str, Any] | None, str]:
    table, _, key = name.rpartition(".")
    found = values.get(table) if table else values
    return (found if isinstance(found, dict) else None), key


def setting_of_today(key: str, value: str) -> tuple[str, str]:
    """A recipe's key, in full or by its last part, and its value, as they are called today.

    ``architecture`` was the hierarchy, and is the network's: its value, or its values behind commas, tell.
    """
    if key == "architecture" and not {one.strip("\"' ") for one in value.split(",")} <= {"flat", "cascade"}:
        return "network.architecture", value
    last = {old.rsplit(".", 1)[-1]: new for old, new in RECIPE.items() if "." in old and old != "network.name"}
    new = RECIPE.get(key) or last.get(key) or key
    values = next((VALUES[name] for name in VALUES if name in (new, f"training.{new}", f"splits.{new}")), {})
    return new, values.get(value.strip("\"'"), value)


def arguments_of_today(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line with the options of today, and a note for each old one.

    Args:
        arguments: Without the program's name.
    """
    found, notes = [], []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if word == "--":
            found += [word, *words]
            break
        if option not in OPTIONS:
            found.append(word)
            continue
        notes.append(f"{option} was renamed to {OPTIONS[option]}; the old name works until version 0.3.")
        if option == "--miss-rate":
            value = value if equals else next(words, "")
            found.append(f"--sensitivity={_complement(value)}")
        else:
            found.append(OPTIONS[option] + equals + value)
    return found, notes


def _complement(share: str) -> str:
    try:
        return f"{1 - float(share):.12g}"
    except ValueError:
        return share


def claim_of_before(claim: Mapping[str, object]) -> dict[str, Any]:
    """A claim of a certificate under the keys of version 0.1: its hash is the same in both versions."""
    names = {"false_negative_rate": "miss_rate", "hierarchy": "architecture"}
    return {
        names.get(key, key): claim_of_before(item) if isinstance(item, Mapping) else item for key, item in claim.items()
    }
