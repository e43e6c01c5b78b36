"""``python -m benchmarks``: run the parts, and write JSON and a Markdown table after each of them."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.parts import PARTS
from benchmarks.results import Results, command_line
from benchmarks.setting import Setting
from hilum.phantoms import write_phantoms

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[1] / "shared" / "data" / "seed-cxr"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats, short trainings: about five minutes")
    parser.add_argument("--data", type=Path, help="a dataset; by default ../shared/data/seed-cxr, else phantoms")
    parser.add_argument("--only", action="append", choices=PARTS, default=[], help="only this part; may be repeated")
    parser.add_argument("--skip", action="append", choices=PARTS, default=[], help="all but this part")
    parser.add_argument(
        "--recipe", action="append", default=[], type=seeded, help="NAME or NAME:SEEDS, whose accuracy is measured"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--name", default="", help="of the results' files; by default date and machine")
    return parser.parse_args(arguments)


def seeded(text: str) -> tuple[str, int]:
    """A recipe's name and how often it is trained, from ``NAME`` or ``NAME:SEEDS``."""
    name, _, seeds = text.partition(":")
    return name, int(seeds or 1)


def main(arguments: list[str]) -> int:
    """The number of parts that failed."""
    wanted = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="hilum-bench-") as folder:
        os.environ["HILUM_CACHE"] = str(Path(folder) / "cache")  # nothing was decoded before, and nothing stays
        data = wanted.data or (REAL if REAL.is_dir() else Path(folder) / "phantoms")
        real = data.exists()
        setting = Setting(data, real, Path(folder), wanted.quick, dict(wanted.recipe) or {"compact": 1})
        if not real:
            setting.say("writing phantoms")
            write_phantoms(data, patients=400, masks=False)
        shown = data.name if real else "phantoms"
        facts = {"command": command_line(arguments), "data": shown, "quick": wanted.quick}
        results = Results(wanted.out, facts, wanted.name)
        failed = 0
        for name, measure in PARTS.items():
            if name in wanted.skip or (wanted.only and name not in wanted.only):
                continue
            setting.say(f"--- {name}")
            begin = time.monotonic()
            try:
                found, error = measure(setting), ""
            except Exception as problem:  # one part's failure is no reason to lose the others
                found, error = [], f"{type(problem).__name__}: {problem}"
                failed += 1
                setting.say(f"{name} failed: {error}")
            results.add(name, found, time.monotonic() - begin, error)
    print(results.to_markdown())
    print(f"written: {results.path} and {results.path.with_suffix('.md').name}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
