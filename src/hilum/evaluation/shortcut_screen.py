"""The model's leads over the shortcut baselines on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from hilum.data.labels import last_component
from hilum.evaluation.shortcut_verdict import lead_rows
from hilum.evaluation.verdicts import SHOWN
from hilum.printable import escape
from hilum.text import cell_text, fraction


def leads_table(gate: Mapping[str, Any] | None) -> list[Table]:
    """For each label the nearest probe and all probes together; nothing where nothing was compared."""
    rows = list(lead_rows(gate)) if gate else []
    if not rows:
        return []
    title = "AUROC against shortcut baselines, with 95 % CI"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for name in ("", "baseline"):
        table.add_column(name, overflow="fold")
    for name in ("model", "baseline", "lead"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lead > 0", no_wrap=True)
    before = ""
    for label, found, entry, verdict in rows:
        table.add_row(
            "" if label == before else escape(last_component(label)),
            escape(entry["name"]),
            fraction(found["model"]["value"]),
            fraction(entry["auroc"]["value"]),
            cell_text(entry["difference"], as_percent=False, sign=True),
            verdict if verdict == SHOWN else f"[bold red]{verdict}[/]",
        )
        before = label
    return [table]
