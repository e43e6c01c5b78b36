"""Kill every command of hilum at its write events: ``python studies/kills.py [--kills N] [COMMAND ...]``.

Each command runs in a forked child that is killed by SIGKILL before its k-th write event (`tests/killing.py`), at
every one of them where there are at most N, else at N of them; random times make up for what is missing to N.
Afterwards every file has to be what it was or what it would have become, files that belong together the one or the
other together, and the same command, with ``--resume`` where there is one, has to end as if nothing had happened.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from killing import Ended, command, in_child

KILLS = 100
PASSED_OVER = (".lock", ".head", ".unfinished", "ledger.jsonl")
SMALL = ["--recipe", "phantoms"]
for setting in ("preprocessing.size=32", "training.epochs=2", "training.validate_every=1", "training.batch_size=16"):
    SMALL += ["--set", setting]
# What says when and how long, and what follows from that.
VOLATILE = {"made", "time", "started", "finished", "seconds", "ended", "ledger", "hash", "seal", "before", "attempt"}
VOLATILE |= {"written", "peak_memory", "duration", "minutes", "resumed", "images_per_second", "data_wait_share"}
VOLATILE |= {"command", "files", "packages_sha256"}  # --resume; seconds of the history; what is installed meanwhile


@dataclass(frozen=True)
class Case:
    """A command to kill.

    Attributes:
        arguments: Of the command line, with ``{data}`` and ``{here}`` for the data and the folder that is copied.
        sets: Patterns of files that belong together.
        first: Commands that make what is there before.
        resume: Whether the command is repeated with ``--resume``, and its files may be in between meanwhile.
        once: Whether it refuses to write what is there.
        left: Patterns of files that a killed command may leave, and that the repeated one takes away.
    """

    arguments: str
    sets: Sequence[Sequence[str]] = ()
    first: Sequence[str] = ()
    resume: bool = False
    left: Sequence[str] = ()
    once: bool = False


RUN = "train {data} --out {here}/run " + " ".join(SMALL)
EVALUATION = ("out/metrics.json", "out/predictions.csv", "out/decisions.csv")
CASES = {
    "train": Case(RUN, resume=True),
    "sweep": Case("sweep {data} --out {here}/sweep --set training.seed=0,1 " + " ".join(SMALL), resume=True),
    "crossval": Case("crossval {data} --out {here}/cv --folds 3 " + " ".join(SMALL), resume=True),
    "evaluate": Case(
        "evaluate {here}/run --out {here}/out", [EVALUATION], ["evaluate {here}/run --out {here}/out --split val"]
    ),
    "certify": Case(
        "certify {here}/run --split test --sensitivity 0.6 --confidence 0.9 --attempts 2 --out {here}/c.json",
        [["c.json"]],
    ),
    "export": Case("export {here}/run {here}/m.onnx --name new", [["m.onnx"]], ["export {here}/run {here}/m.onnx"]),
    "export --hub-folder": Case(
        "export {here}/run {here}/m.onnx --name new --hub-folder {here}/hub",
        [["m.onnx"], ["hub/model.onnx", "hub/README.md", "hub/config.json"]],
        ["export {here}/run {here}/m.onnx --hub-folder {here}/hub"],
    ),
    "report": Case(
        "report {here}/run",
        [["run/report.html"], ["run/model_card.md"]],
        ["report {here}/run", "evaluate {here}/run"],
    ),
    "compare": Case(
        "compare {here}/run {here}/run --out {here}/out",
        [["out/comparison.json"], ["out/comparison.html"]],
        ["evaluate {here}/run"],
    ),
    "audit": Case(
        "audit {data} --out {here}/out", [["out/audit.json"], ["out/audit.html"]], ["audit {other} --out {here}/out"]
    ),
    "audit --clean": Case(
        "audit {data} --out {here}/out --clean {here}/mended.csv",
        [["mended.csv"]],
        left=["mended.log", "out/*"],
        once=True,
    ),
    "predict --json": Case(
        "predict {data} --model {model} --json {here}/a.json",
        [["a.json"]],
        ["predict {other} --model {model} --json {here}/a.json"],
    ),
    "predict --csv": Case(
        "predict {data} --model {model} --csv {here}/a.csv",
        [["a.csv"]],
        ["predict {other} --model {model} --csv {here}/a.csv"],
    ),
    "predict --explain": Case("predict {data}/test/normal --model {model} --explain {here}/e", left=["e/*.jpg"]),
    "phantoms": Case("phantoms {here}/ph --patients 12 --size 64", [["ph/*"]], once=True),
}
NEEDS_RUN = ("evaluate", "certify", "export", "export --hub-folder", "report", "compare")


def main(wanted: Sequence[str], kills: int, seed: int = 0) -> None:
    warm()
    print("| command | killed | at events | at times | old | new | repeated alike | faults |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="hilum-kills-") as scratch:
        place = Path(scratch).resolve()
        names = prepare(place, trained=any("{model}" in CASES[name].arguments or name in NEEDS_RUN for name in wanted))
        for name in wanted:
            print(killed(name, place, names, kills, random.Random(seed)), flush=True)


def warm() -> None:
    """Import what commands take seconds to import, and keep one thread, which a fork can bear."""
    import onnxruntime  # noqa: F401
    import sklearn.model_selection  # noqa: F401
    import torch

    import hilum.auditing.audit
    import hilum.cli.app
    import hilum.evaluation.crossval
    import hilum.exporting.export
    import hilum.report.audit_page
    import hilum.report.page
    import hilum.training.loop
    import hilum.training.sweep  # noqa: F401

    torch.set_num_threads(1)


def prepare(place: Path, *, trained: bool) -> dict[str, str]:
    """Data, a run and a model, with which commands are called."""
    os.environ |= {"HILUM_CACHE": str(place / "cache"), "HILUM_LEDGER": str(place / "work" / "ledger.jsonl")}
    names = {"data": str(place / "data"), "other": str(place / "other"), "model": str(place / "model.onnx")}
    (place / "work").mkdir()
    names["here"] = str(place / "work")
    must(call(f"phantoms {place}/data --patients 60 --size 64", names, place))
    must(call(f"phantoms {place}/other --patients 24 --size 64 --seed 1", names, place))
    if trained:
        must(call(RUN.replace("{here}", str(place / "trained")), names, place))
        must(call(f"export {place}/trained/run {place}/model.onnx", names, place))
    return names


def call(text: str, names: dict[str, str], below: Path, **how: Any) -> Ended:
    return in_child(command(*text.format(**names).split()), below, **how)


def must(ended: Ended) -> Ended:
    if ended.code:
        sys.exit(f"exit code {ended.code}: {ended.said[-2000:]}")
    return ended


def killed(name: str, place: Path, names: dict[str, str], kills: int, chance: random.Random) -> str:
    case, here, before = CASES[name], place / "work", place / "before"
    for folder in (here, before):
        shutil.rmtree(folder, ignore_errors=True)
    here.mkdir()
    if name in NEEDS_RUN:
        shutil.copytree(place / "trained" / "run", here / "run")
    for text in case.first:
        must(call(text, names, here))
    shutil.copytree(here, before)
    old, start = state(here), time.monotonic()
    events = len(must(call(case.arguments, names, here)).events)
    lasts, new = time.monotonic() - start, state(here)
    points: list[dict[str, Any]] = [{"kill": round(1 + k * (events - 1) / max(1, kills - 1))} for k in range(kills)]
    points = [{"kill": k} for k in range(1, events + 1)] if events <= kills else points
    at_events = len(points)
    points += [{"after": chance.uniform(0.02, lasts)} for _ in range(kills - at_events)]
    found: Counter[str] = Counter()
    faults: list[str] = []
    for point in points:
        shutil.rmtree(here)
        shutil.copytree(before, here)
        ended = call(case.arguments, names, here, **point)
        found["killed"] += ended.killed
        settle_all(here)
        verdict, fault = judge(case, old, new, state(here))
        found[verdict] += 1
        again = call(case.arguments + (" --resume" if case.resume else ""), names, here)
        if again.code and case.resume and not any(here.iterdir()):  # killed before there was anything
            again = call(case.arguments, names, here)
        if case.once and verdict == "new":  # it is there already, and is not made anew
            found["alike"] += again.code == 1
        else:
            fault = fault or (f"exit code {again.code}: {again.said.strip()[-150:]}" if again.code else "")
            differing = [file for file in {*new, *state(here)} if new.get(file) != state(here).get(file)]
            fault = fault or (f"another {min(differing)}" if differing else "")
            found["alike"] += not again.code and not differing
        if fault:
            faults.append(f"{point}: {fault}")
    for text in faults:
        print(f"<!-- {name}, {text} -->", flush=True)
    counts = f"{at_events} of {events} | {len(points) - at_events}"
    olds = "" if case.resume else f"{found['old']}"
    news = "" if case.resume else f"{found['new']}"
    ends = f"{olds} | {news} | {found['alike']} of {len(points)} | {len(faults)}"
    return f"| `{name}` | {found['killed']} | {counts} | {ends} |"


def judge(case: Case, old: dict[str, str], new: dict[str, str], now: dict[str, str]) -> tuple[str, str]:
    """``old`` or ``new``, and what is wrong."""
    half = [file for file, content in now.items() if content == "half"]
    if half:
        return "half", f"half of {half[0]}"
    if case.resume:
        return "between", ""
    verdicts = set()
    for patterns in case.sets or [["*"]]:
        mine = [file for file in {*old, *new, *now} if any(fnmatch(file, p) for p in patterns)]
        mine = [file for file in mine if not any(fnmatch(file, pattern) for pattern in case.left)]
        is_old = all(now.get(file) == old.get(file) for file in mine)
        is_new = all(now.get(file) == new.get(file) for file in mine)
        if not is_old and not is_new:
            return "mixed", f"neither the old nor the new of {', '.join(patterns)}"
        verdicts.add("old" if is_old and not is_new else "new")
    return ("old" if "old" in verdicts else "new"), ""


def settle_all(here: Path) -> None:
    """As whoever reads a result does."""
    from hilum.files import JOURNAL, settle

    for journal in here.rglob(JOURNAL):
        settle(journal.parent)


def state(here: Path) -> dict[str, str]:
    """What every file says, by name: a hash of it without times, or ``half``."""
    from hilum.files import PREFIX

    found = {}
    for file in sorted(here.rglob("*")):
        name = file.relative_to(here).as_posix()
        if file.is_file() and PREFIX not in name and not name.endswith(PASSED_OVER):
            found[name] = content_of(file)
    return found


def content_of(file: Path) -> str:
    content = file.read_bytes()
    try:
        if file.name == "access_log.json":
            return "whole" if json.loads(content) else "half"
        if file.suffix == ".json" and not content.startswith((b'{"path"', b'{"study"')):
            content = json.dumps(without_times(json.loads(content))).encode()
        elif file.name in ("history.csv", "sweep.csv"):
            rows = list(csv.DictReader(io.StringIO(content.decode())))
            content = json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
        elif file.suffix == ".safetensors" and "checkpoints" in file.parts:
            from safetensors.numpy import load

            return "whole" if load(content) else "half"
        elif file.suffix == ".html" and file.name in ("sweep.html", "crossval.html"):
            return "whole" if content.rstrip().endswith(b"</html>") else "half"
    except Exception:  # whoever reads it, it is not whole
        return "half"
    return hashlib.sha256(content).hexdigest()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in VOLATILE}
    return [without_times(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *CASES], help="All by default.")
    parser.add_argument("--kills", type=int, default=KILLS)
    chosen = parser.parse_args()
    main(chosen.commands or list(CASES), chosen.kills)
