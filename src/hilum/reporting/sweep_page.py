"""The page of a sweep: what validation chose, and how all trials went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.errors import HilumError, RunError
from hilum.reporting import sweep_words as words
from hilum.reporting.sweep_curves import Curve, learning_curves
from hilum.reporting.sweep_figures import Setting, is_wide, sweep_dots
from hilum.templating import write_page
from hilum.training.recipe import flatten
from hilum.training.run import Run
from hilum.training.sweep import SEED_KEYS
from hilum.training.sweep_screen import SHOWN, settings_text, value_text

UNKNOWN = "the protected label"


def write_sweep_page(folder: Path, result: dict[str, Any]) -> Path:
    """Write the page of a sweep.

    Args:
        folder: Of the sweep, with a run for each trial below ``trials``.
        result: What its ``sweep.json`` holds.

    Returns:
        The file that was written, ``sweep.html``. The same folder gives the same bytes.
    """
    return write_page(folder / "sweep.html", "sweep.html.j2", page_content(folder, result))


def page_content(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows, by name."""
    trials, groups = result["trials"], result["groups"]
    protected = _protected(folder, trials)
    measures = {"val_accuracy": "Validation accuracy", "val_loss": "Validation loss"}
    if protected is not None:
        measures["val_misses"] = "Missed protected images"
    keys = [key for key in result["swept"] if key not in SEED_KEYS]
    settings = _settings(result, keys)
    curves = _curves(folder, result)
    return {
        "name": folder.resolve().name,
        "folder": folder,
        "choice": words.choice(result),
        "select": SHOWN[result["select"]],
        "protected": protected,
        "notes": result["notes"],
        "n_diverged": sum(trial["status"] == "diverged" for trial in trials),
        "diverged": [trial["name"] for trial in trials if trial["status"] == "diverged"],
        "waiting": [trial["name"] for trial in trials if trial["status"] == "waiting"],
        "seeds": max((len(group["trials"]) for group in groups), default=0),
        "swept": [(key, ", ".join(value_text(value) for value in values)) for key, values in result["swept"].items()],
        "dots": sweep_dots(settings, ", ".join(keys) or "setting", measures, "sweep-dots") if settings else None,
        "logarithmic": is_wide(settings),
        "curves": learning_curves(curves, [settings_text(group["settings"]) for group in groups], "sweep-curves")
        if any(curve.history for curve in curves)
        else None,
        "groups": words.group_rows(result),
        "trials": words.trial_rows(result, folder),
        "recipe": flatten(result["recipe"]),
        "digest": result["data"],
        "colours": {},
    }


def _protected(folder: Path, trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The label that must not be missed, as the first trial that can be read knows it."""
    for trial in trials:
        try:
            return Run(folder / "trials" / trial["name"]).protected
        except (HilumError, OSError):
            continue
    return UNKNOWN


def _settings(result: Mapping[str, Any], keys: Sequence[str]) -> list[Setting]:
    """In the order of the swept values where that is one key, else the best first."""
    trials = {trial["name"]: trial for trial in result["trials"]}
    groups = list(result["groups"])
    if len(keys) == 1:
        order = [value_text(value) for value in result["swept"][keys[0]]]
        groups.sort(key=lambda group: order.index(value_text(group["settings"][keys[0]])))
    settings = []
    for group in groups:
        members = [trials[name] for name in group["trials"]]
        value = group["settings"][keys[0]] if len(keys) == 1 else None
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        settings.append(
            Setting(
                title=settings_text(group["settings"]),
                value=float(value) if value is not None and numeric else None,
                seeds=tuple(trial["best"] for trial in members if trial["status"] == "finished"),
                mean=group["mean"],
                failed=", ".join(words.state_counts([t for t in members if t["status"] != "waiting"])),
                chosen=bool(group["mean"]) and group["settings"] == result["choice"],
            )
        )
    return settings


def _curves(folder: Path, result: Mapping[str, Any]) -> list[Curve]:
    place = {name: n for n, group in enumerate(result["groups"]) for name in group["trials"]}
    return [
        Curve(place[trial["name"]], _history(folder / "trials" / trial["name"]), trial["status"] == "diverged")
        for trial in result["trials"]
    ]


def _history(folder: Path) -> list[dict[str, float]]:
    """What a trial wrote down; a damaged or missing file costs its curve, not the page."""
    try:
        return Run(folder).history()
    except RunError:
        return []
