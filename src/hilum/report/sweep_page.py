"""A sweep on the console, and its page, ``sweep.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.errors import HilumError, RunError
from hilum.report.sweep_figures import Curve, Setting, is_wide, learning_curves, sweep_dots
from hilum.templating import write_page
from hilum.text import escape, percent, plural
from hilum.training.recipe import flatten, short_key
from hilum.training.run import Run
from hilum.training.sweep import SEED_KEYS

SHOWN = {"loss": "validation loss", "accuracy": "validation accuracy", "false_negatives": "missed on validation"}


def sweep_table(result: Mapping[str, Any]) -> RenderableType:
    """The trials, best first, and the choice.

    Args:
        result: What ``sweep.json`` holds.
    """
    trials = {trial["name"]: trial for trial in result["trials"]}
    seeds = any(len(group["trials"]) > 1 for group in result["groups"])
    table = Table(box=box.SIMPLE_HEAD, title="means over seeds" if seeds else None, title_justify="left")
    table.add_column("setting", overflow="fold")
    for name in (*(["seeds"] if seeds else []), "val. loss", "accuracy %", "missed", "epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for position, group in enumerate(result["groups"]):
        members = [trials[name] for name in group["trials"]]
        mark = "[bold green]" if position == 0 and group["mean"] else ""
        name = mark + escape(settings_text(group["settings"])) + ("[/]" if mark else "")
        count = [str(len(members))] if seeds else []
        if group["mean"]:
            mean = group["mean"]
            epochs = sorted({f"{trial['best']['epoch']:.0f}" for trial in members}, key=int)
            missed = f"{mean['val_false_negatives']:.1f}".removesuffix(".0")
            table.add_row(
                name, *count, f"{mean['val_loss']:.4f}", f"{100 * mean['val_accuracy']:.1f}", missed, ", ".join(epochs)
            )
        else:
            states = sorted({trial["status"] for trial in members} - {"finished"})
            table.add_row(name, *count, f"[red]{', '.join(states)}[/]", "", "", "")
    chosen = result["choice"]
    if chosen is None:
        verdict = "no trial came to its end: nothing is chosen"
    else:
        verdict = f"chosen by {SHOWN[result['monitor']]}: [bold]{escape(settings_text(chosen))}[/]"
    notes = [f"[yellow]{escape(note)}[/]" for note in result["notes"]]
    return Group("", table, f"{verdict} (validation only; no test image was looked at)", *notes, "")


def settings_text(settings: Mapping[str, Any]) -> str:
    """``lr=0.01, width=8``: keys by their last part where that is clear."""
    if not settings:
        return "as the recipe says"
    return ", ".join(f"{short_key(key)}={value_text(value)}" for key, value in settings.items())


def value_text(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={value_text(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


Result = Mapping[str, Any]


def choice(result: Result) -> str:
    """The choice in one sentence, or why there is none."""
    total = len(result["trials"])
    if result["choice"] is None:
        return f"None of {plural(total, 'trial')} came to its end: nothing is chosen."
    waiting = sum(trial["status"] == "waiting" for trial in result["trials"])
    best = result["groups"][0]
    mean = best["mean"]
    over = f"mean of {len(best['trials'])} seeds: " if len(best["trials"]) > 1 else ""
    numbers = f"loss {mean['val_loss']:.4f}, accuracy {percent(mean['val_accuracy'])}"
    if result["monitor"] == "false_negatives":
        numbers = f"{_count(mean['val_false_negatives'])} missed, {numbers}"
    so_far = f", so far ({plural(waiting, 'trial')} still to come)" if waiting else ""
    settings = settings_text(result["choice"]) if result["choice"] else "the recipe as it is"
    return f"Chosen by {SHOWN[result['monitor']]}: {settings} ({over}{numbers}){so_far}."


def group_rows(result: Result) -> list[dict[str, Any]]:
    """The settings, best first, with the means over their seeds and the range of single seeds."""
    trials = {trial["name"]: trial for trial in result["trials"]}
    rows = []
    for group in result["groups"]:
        members = [trials[name] for name in group["trials"]]
        ended = [trial["best"] for trial in members if trial["status"] == "finished"]
        several = len(ended) > 1
        mean = group["mean"]
        rows.append(
            {
                "settings": settings_text(group["settings"]),
                "count": len(members),
                "states": ", ".join(state_counts(members)),
                "chosen": bool(mean) and group["settings"] == result["choice"],
                "loss": _with_range(mean.get("val_loss"), [b["val_loss"] for b in ended] if several else [], _loss),
                "accuracy": _with_range(
                    mean.get("val_accuracy"), [b["val_accuracy"] for b in ended] if several else [], percent
                ),
                "false_negatives": _with_range(
                    mean.get("val_false_negatives"),
                    [b["val_false_negatives"] for b in ended] if several else [],
                    _count,
                ),
                "epochs": ", ".join(f"{epoch:.0f}" for epoch in sorted({best["epoch"] for best in ended})) or "–",
            }
        )
    return rows


def state_counts(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """``["2 of 3 diverged"]``: what keeps some trials from having a mean."""
    states = [trial["status"] for trial in members]
    found = sorted(set(states) - {"finished"})
    if len(states) == 1:
        return found
    return [f"{states.count(state)} of {len(states)} {state}" for state in found]


def trial_rows(result: Result, folder: Path) -> list[dict[str, Any]]:
    """The trials in the order in which they ran; those with a folder have a link relative to the page."""
    return [
        {
            "name": trial["name"],
            "href": f"trials/{quote(trial['name'])}/" if (folder / "trials" / trial["name"]).is_dir() else None,
            "settings": settings_text(trial["settings"]),
            "status": trial["status"],
            "message": message_of(trial),
            "epoch": _count(trial["best"].get("epoch")),
            "step": _count(trial["best"].get("step")),
            "loss": _loss(trial["best"].get("val_loss")),
            "accuracy": percent(trial["best"].get("val_accuracy")),
            "false_negatives": _count(trial["best"].get("val_false_negatives")),
            "seconds": trial["seconds"],
        }
        for trial in result["trials"]
    ]


def message_of(trial: Mapping[str, Any]) -> str:
    """Why a trial ended, without the path of the folder in which it was made."""
    return str(trial["message"]).split(f"{trial['name']}: ", 1)[-1]


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}".removesuffix(".0")


def _with_range(mean: float | None, seeds: Sequence[float], text: Any) -> tuple[str, str]:
    low_high = (text(min(seeds)), text(max(seeds))) if seeds else ("", "")
    return text(mean), f"{low_high[0].removesuffix(' %')} to {low_high[1]}" if seeds else ""


UNKNOWN = "the positive label"


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
    positive_label = _protected(folder, trials)
    measures = {"val_accuracy": "Validation accuracy", "val_loss": "Validation loss"}
    if positive_label is not None:
        measures["val_false_negatives"] = "Missed positive images"
    keys = [key for key in result["swept"] if key not in SEED_KEYS]
    settings = _settings(result, keys)
    curves = _curves(folder, result)
    return {
        "name": folder.resolve().name,
        "folder": folder,
        "choice": choice(result),
        "monitor": SHOWN[result["monitor"]],
        "positive_label": positive_label,
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
        "groups": group_rows(result),
        "trials": trial_rows(result, folder),
        "recipe": flatten(result["recipe"]),
        "digest": result["data"],
        "colours": {},
    }


def _protected(folder: Path, trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The label that must not be missed, as the first trial that can be read knows it."""
    for trial in trials:
        try:
            return Run(folder / "trials" / trial["name"]).positive_label
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
                failed=", ".join(state_counts([t for t in members if t["status"] != "waiting"])),
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
