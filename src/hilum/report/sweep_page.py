"""A sweep on the console, and its page, ``sweep.html``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from pydantic import JsonValue
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.errors import HilumError, RunError
from hilum.report.sweep_figures import Curve, Setting, is_wide, learning_curves, sweep_dots
from hilum.templating import write_page
from hilum.text import escape, percent, plural
from hilum.training.recipe import flatten, short_key
from hilum.training.run import Run
from hilum.training.sweep import SEED_KEYS, MeanValidation, Sweep, Trial, Validation

SHOWN = {
    "loss": "validation loss",
    "accuracy": "validation accuracy",
    "false_negatives": "validation false negatives",
    "auroc": "mean AUROC on validation",
}


def sweep_table(sweep: Sweep, folder: Path) -> RenderableType:
    """The trials, best first, and the choice."""
    positive_label = _positive(folder, sweep.trials)
    seeds = any(len(group.trials) > 1 for group in sweep.groups)
    columns = ["val. loss", "accuracy %", *(["false negatives"] if positive_label else []), "epoch"]
    table = Table(box=box.SIMPLE_HEAD, title="means over seeds" if seeds else None, title_justify="left")
    table.add_column("setting", overflow="fold")
    for name in (*(["seeds"] if seeds else []), *columns):
        table.add_column(name, justify="right", no_wrap=True)
    for position, group in enumerate(sweep.groups):
        members, mean = sweep.members(group), group.mean
        mark = "[bold green]" if position == 0 and mean else ""
        name = mark + escape(settings_text(group.settings)) + ("[/]" if mark else "")
        count = [str(len(members))] if seeds else []
        if mean:
            epochs = sorted({f"{trial.best.epoch:.0f}" for trial in members if trial.best}, key=int)
            missed = [f"{mean.val_false_negatives:.1f}".removesuffix(".0")] if positive_label else []
            table.add_row(
                name, *count, f"{mean.val_loss:.4f}", f"{100 * mean.val_accuracy:.1f}", *missed, ", ".join(epochs)
            )
        else:
            states = sorted({str(trial.status) for trial in members} - {"finished"})
            table.add_row(name, *count, f"[red]{', '.join(states)}[/]", *[""] * (len(columns) - 1))
    if sweep.choice is None:
        verdict = "no trial finished: nothing is chosen"
    else:
        verdict = f"chosen by {SHOWN[sweep.monitor]}: [bold]{escape(settings_text(sweep.choice))}[/]"
    notes = [f"[yellow]{escape(note)}[/]" for note in sweep.notes]
    return Group("", table, f"{verdict} (validation only; no test image was used)", *notes, "")


def settings_text(settings: Mapping[str, JsonValue]) -> str:
    """``lr=0.01, width=8``: keys by their last part where that is clear."""
    if not settings:
        return "as in the recipe"
    return ", ".join(f"{short_key(key)}={value_text(value)}" for key, value in settings.items())


def value_text(value: JsonValue) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={value_text(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def choice(sweep: Sweep) -> str:
    """The choice in one sentence, or why there is none."""
    if sweep.choice is None or not (best := sweep.groups[0]).mean:
        return f"None of {plural(len(sweep.trials), 'trial')} finished: nothing is chosen."
    waiting = sum(trial.status == "waiting" for trial in sweep.trials)
    over = f"mean of {len(best.trials)} seeds: " if len(best.trials) > 1 else ""
    numbers = f"loss {best.mean.val_loss:.4f}, accuracy {percent(best.mean.val_accuracy)}"
    if sweep.monitor == "false_negatives":
        numbers = f"{_count(best.mean.val_false_negatives)} false negatives, {numbers}"
    if best.mean.val_auroc is not None:
        numbers = f"mean AUROC {best.mean.val_auroc:.3f}, {numbers}"
    so_far = f", so far ({plural(waiting, 'trial')} remaining)" if waiting else ""
    settings = settings_text(sweep.choice) if sweep.choice else "the unchanged recipe"
    return f"Chosen by {SHOWN[sweep.monitor]}: {settings} ({over}{numbers}){so_far}."


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A setting: what keeps some trials from having a mean, each mean with the range of single seeds, epochs kept."""

    settings: str
    seeds: int
    states: str
    chosen: bool
    loss: tuple[str, str]
    accuracy: tuple[str, str]
    false_negatives: tuple[str, str]
    epochs: str


def group_rows(sweep: Sweep) -> list[GroupRow]:
    """The settings, best first."""
    rows = []
    for group in sweep.groups:
        members = sweep.members(group)
        ended = [trial.best for trial in members if trial.best]
        several = ended if len(ended) > 1 else []
        loss, accuracy, missed = _shown(group.mean)
        rows.append(
            GroupRow(
                settings=settings_text(group.settings),
                seeds=len(members),
                states=", ".join(state_counts(members)),
                chosen=sweep.chose(group),
                loss=(loss, _range([best.val_loss for best in several], _loss)),
                accuracy=(accuracy, _range([best.val_accuracy for best in several], percent)),
                false_negatives=(missed, _range([best.val_false_negatives for best in several], _count)),
                epochs=", ".join(f"{epoch:.0f}" for epoch in sorted({best.epoch for best in ended})) or "–",
            )
        )
    return rows


def state_counts(members: Sequence[Trial]) -> list[str]:
    """``["2 of 3 diverged"]``: what keeps some trials from having a mean."""
    states = [str(trial.status) for trial in members]
    found = sorted(set(states) - {"finished"})
    if len(states) == 1:
        return found
    return [f"{states.count(state)} of {len(states)} {state}" for state in found]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial and its kept validation; the link is relative to the page, None without a folder."""

    name: str
    href: str | None
    status: str
    message: str
    epoch: str
    step: str
    loss: str
    accuracy: str
    false_negatives: str
    seconds: float | None


def trial_rows(sweep: Sweep, folder: Path) -> list[TrialRow]:
    """The trials in the order in which they ran."""
    rows = []
    for trial in sweep.trials:
        loss, accuracy, missed = _shown(trial.best)
        rows.append(
            TrialRow(
                name=trial.name,
                href=f"trials/{quote(trial.name)}/" if (folder / "trials" / trial.name).is_dir() else None,
                status=trial.status,
                message=message_of(trial),
                epoch=_count(trial.best.epoch) if trial.best else "–",
                step=_count(trial.best.step) if trial.best else "–",
                loss=loss,
                accuracy=accuracy,
                false_negatives=missed,
                seconds=trial.seconds,
            )
        )
    return rows


def message_of(trial: Trial) -> str:
    """Why a trial ended, without the path of the folder in which it was made."""
    return trial.message.split(f"{trial.name}: ", 1)[-1]


def _shown(found: Validation | MeanValidation | None) -> tuple[str, str, str]:
    """Loss, accuracy and number of missed positive images; dashes where there is no validation."""
    if found is None:
        return "–", "–", "–"
    return _loss(found.val_loss), percent(found.val_accuracy), _count(found.val_false_negatives)


def _loss(value: float) -> str:
    return f"{value:.4f}"


def _count(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _range(seeds: Sequence[float], text: Callable[[float], str]) -> str:
    return f"{text(min(seeds)).removesuffix(' %')} to {text(max(seeds))}" if seeds else ""


UNKNOWN = "the positive label"


def write_sweep_page(folder: Path, sweep: Sweep) -> Path:
    """Write the page of a sweep.

    Args:
        folder: Of the sweep, with a run for each trial below ``trials``.
        sweep: What its ``sweep.json`` holds.

    Returns:
        The file that was written, ``sweep.html``. The same folder gives the same bytes.
    """
    positive_label, settings, curves = _positive(folder, sweep.trials), drawn_settings(sweep), _curves(folder, sweep)
    return write_page(
        folder / "sweep.html",
        "sweep.html.j2",
        {
            "name": folder.resolve().name,
            "folder": folder,
            "choice": choice(sweep),
            "monitor": SHOWN[sweep.monitor],
            "positive_label": positive_label,
            "notes": sweep.notes,
            "diverged": [trial.name for trial in sweep.trials if trial.status == "diverged"],
            "waiting": [trial.name for trial in sweep.trials if trial.status == "waiting"],
            "seeds": max((len(group.trials) for group in sweep.groups), default=0),
            "swept": [(key, ", ".join(map(value_text, values))) for key, values in sweep.swept.items()],
            "dots": settings_figure(sweep, missed=positive_label is not None),
            "logarithmic": is_wide(settings),
            "curves": learning_curves(curves, [settings_text(group.settings) for group in sweep.groups], "sweep-curves")
            if any(curve.history for curve in curves)
            else None,
            "groups": group_rows(sweep),
            "trials": trial_rows(sweep, folder),
            "recipe": flatten(sweep.recipe.model_dump(mode="json")),
            "digest": sweep.data,
            "colours": {},
        },
    )


def settings_figure(sweep: Sweep, *, missed: bool = True) -> Markup | None:
    """What validation says of each setting; None without settings.

    Args:
        sweep: With groups.
        missed: Whether missed positive images are shown.
    """
    measures = {"val_accuracy": "Validation accuracy", "val_loss": "Validation loss"}
    if missed:
        measures["val_false_negatives"] = "False negatives"
    settings = drawn_settings(sweep)
    return sweep_dots(settings, ", ".join(_keys(sweep)) or "setting", measures, "sweep-dots") if settings else None


def _keys(sweep: Sweep) -> list[str]:
    return [key for key in sweep.swept if key not in SEED_KEYS]


def _positive(folder: Path, trials: Sequence[Trial]) -> str | None:
    """The positive label, as the first trial that can be read knows it."""
    for trial in trials:
        try:
            return Run(folder / "trials" / trial.name).positive_label
        except (HilumError, OSError):
            continue
    return UNKNOWN


def drawn_settings(sweep: Sweep) -> list[Setting]:
    """The settings in the order of the swept values where that is one key, else the best first."""
    groups, keys = list(sweep.groups), _keys(sweep)
    if len(keys) == 1:
        order = list(map(value_text, sweep.swept[keys[0]]))
        groups.sort(key=lambda group: order.index(value_text(group.settings[keys[0]])))
    settings = []
    for group in groups:
        members = sweep.members(group)
        value = group.settings[keys[0]] if len(keys) == 1 else None
        settings.append(
            Setting(
                title=settings_text(group.settings),
                value=float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None,
                seeds=tuple(dict(trial.best) for trial in members if trial.best),
                mean=dict(group.mean or ()),
                failed=", ".join(state_counts([trial for trial in members if trial.status != "waiting"])),
                chosen=sweep.chose(group),
            )
        )
    return settings


def _curves(folder: Path, sweep: Sweep) -> list[Curve]:
    place = {name: n for n, group in enumerate(sweep.groups) for name in group.trials}
    return [
        Curve(place[trial.name], _history(folder / "trials" / trial.name), trial.status == "diverged")
        for trial in sweep.trials
    ]


def _history(folder: Path) -> list[dict[str, float]]:
    """What a trial wrote down; a damaged or missing file costs its curve, not the page."""
    try:
        return Run(folder).history()
    except RunError:
        return []
