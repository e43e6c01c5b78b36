"""What ``sweep.json`` says, in words and table rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hilum.text import percent, plural
from hilum.training.sweep_screen import SHOWN, settings_text

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
    if result["select"] == "misses":
        numbers = f"{_count(mean['val_misses'])} missed, {numbers}"
    so_far = f", so far ({plural(waiting, 'trial')} still to come)" if waiting else ""
    settings = settings_text(result["choice"]) if result["choice"] else "the recipe as it is"
    return f"Chosen by {SHOWN[result['select']]}: {settings} ({over}{numbers}){so_far}."


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
                "misses": _with_range(
                    mean.get("val_misses"), [b["val_misses"] for b in ended] if several else [], _count
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
            "misses": _count(trial["best"].get("val_misses")),
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
