"""What a run of the bench leaves behind: JSON with every repeat, and a Markdown table beside it."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement

VERSIONS = ("torch", "lightning", "monai", "numpy", "pillow", "scikit-learn")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, and versions; nothing that names this one computer."""
    import torch

    from hilum.data.process_pool import processor_name
    from hilum.training.environment import computes_bfloat16

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bfloat16": computes_bfloat16(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }


class Results:
    """Collects measurements part by part; what there is so far is written after every part.

    Args:
        folder: Where the two files go.
        facts: What the run was: command, data, whether it was a quick one.
        stem: Name of the files without ending; by default date and machine.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], stem: str = "") -> None:
        self.facts = {"date": datetime.now(UTC).date().isoformat(), **facts, "machine": machine()}
        quick = "-quick" if facts.get("quick") else ""
        stem = stem or f"{self.facts['date']}-{platform.machine()}-{os.cpu_count()}cores{quick}"
        self.path = folder / f"{stem}.json"
        self.parts: dict[str, dict[str, Any]] = {}
        self.measurements: dict[str, list[Measurement]] = {}

    def add(self, part: str, found: list[Measurement], seconds: float, error: str = "") -> None:
        """Add a part, and write everything."""
        self.measurements[part] = found
        self.parts[part] = {"seconds": round(seconds, 1), "measurements": [item.to_json() for item in found]}
        if error:
            self.parts[part]["error"] = error
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({**self.facts, "parts": self.parts}, indent=1) + "\n", encoding="utf-8")
        self.path.with_suffix(".md").write_text(self.to_markdown(), encoding="utf-8")

    def to_markdown(self) -> str:
        """The table: one line a contestant, ratios beside it."""
        facts = self.facts["machine"]
        lines = [
            f"{self.facts['date']}: `{self.facts['command']}`"
            + (" (quick: few repeats)" if self.facts["quick"] else ""),
            "",
            f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, "
            f"GPU: {facts['gpu'] or 'none'}; PyTorch {facts['torch']}, Python {facts['python']}. "
            f"Data: {self.facts['data']}. Medians; ratios over pairs taken in turn, above 1 where hilum is better.",
            "",
            "| part | what | contestant | median | unit | repeats | hilum against it |",
            "|---|---|---|---|---|---|---|",
        ]
        for part, found in self.measurements.items():
            for item in found:
                for number, (name, repeats) in enumerate(item.values.items()):
                    ratio = f"{item.ratio(name):.2f}" if number else ""
                    cells = [part, "" if number else item.what, name, f"{item.median(name):.4g}", item.unit]
                    lines.append(f"| {' | '.join(cells)} | {len(repeats)} | {ratio} |")
                if item.note:
                    lines.append(f"| {part} | | *{item.note}* | | | | |")
            if error := self.parts[part].get("error"):
                lines.append(f"| {part} | **failed** | {error.replace('|', '/')} | | | | |")
        return "\n".join(lines) + "\n"


def command_line(arguments: list[str]) -> str:
    """The command that repeats this run, without the folders of the machine that it ran on."""
    named = [re.sub(r"(^|=)/.*/", r"\1", word) for word in arguments]
    return " ".join(["python -m benchmarks", *named]) if arguments else f"{Path(sys.executable).name} -m benchmarks"
