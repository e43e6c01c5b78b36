"""Record what every command answers, or compare it with what was recorded.

``python tests/golden/record.py FILE`` runs the commands on phantoms, and on real radiographs where ``HILUM_REAL`` names
them, and writes every number, label and hash of their outputs into FILE. ``--against OTHER`` compares instead and ends
with exit code 1 where they differ: ``--against tests/golden/0.1.0.json.xz`` with what 0.1 answered on an AMD EPYC with
bfloat16 (other processors train other weights). ``--renamed renames.json`` says what keys and values are called since
OTHER was recorded. Prose (text with spaces) is compared by presence alone: snapshots hold wording.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import lzma
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VOLATILE = {"made", "time", "started", "finished", "seconds", "ended", "ledger", "hash", "seal", "before_hash", "id"}
VOLATILE |= {"written", "peak_memory", "duration", "minutes", "digest_of", "previous", "head", "machine", "versions"}
VOLATILE |= {"hilum", "commit", "files", "command", "when", "python", "platform", "device", "images_per_second"}
SET = "--set preprocessing.size=32 --set training.validate_every=1 --set training.batch_size=16"
SMALL = f"--recipe phantoms {SET} --set training.epochs=3"
TREE = f"{SMALL} --set architecture=cascade --set training.monitor=misses --set training.seed=2"
COMMANDS = [
    ("phantoms", "phantoms {here}/data --patients 240 --size 96 --seed 3 --plant marker:infected/covid"),
    ("others", "phantoms {here}/others --patients 90 --size 96 --seed 4"),
    ("audit", "audit {here}/data --out {here}/audit"),
    ("train", f"train {{here}}/data --out {{here}}/a {SMALL}"),
    ("train cascade", f"train {{here}}/data --out {{here}}/b {TREE}"),
    ("evaluate", "evaluate {here}/a --prevalence 0.02"),
    ("evaluate val", "evaluate {here}/a --split val"),
    ("evaluate cascade", "evaluate {here}/b"),
    ("evaluate others", "evaluate {here}/a {here}/others --out {here}/external"),
    ("certify", "certify {here}/a --split calibration --miss-rate 0.3 --confidence 0.8"),
    ("evaluate certified", "evaluate {here}/a --out {here}/certified"),
    ("compare", "compare {here}/a {here}/b --out {here}/compare"),
    ("report", "report {here}/a"),
    ("export", "export {here}/a {here}/a.onnx --name golden"),
    ("export int8", "export {here}/a {here}/a8.onnx --name golden --int8"),
    ("export cascade", "export {here}/b {here}/b.onnx --name golden"),
    ("predict", "predict {here}/others/test --model {here}/a.onnx --json {here}/a.json --csv {here}/a.csv"),
    ("predict int8", "predict {here}/others/test --model {here}/a8.onnx --json {here}/a8.json"),
    ("predict cascade", "predict {here}/others/test --model {here}/b.onnx --json {here}/b.json"),
    ("predict study", "predict {here}/others/test --model {here}/a.onnx --study folder --json {here}/study.json"),
    ("predict default", "predict {here}/others/test --json {here}/default.json"),
    ("explain", "predict {here}/others/test/normal --model {here}/a.onnx --explain {here}/explained"),
    ("crossval", f"crossval {{here}}/data --out {{here}}/cv --folds 3 {SMALL}"),
    ("sweep", f"sweep {{here}}/data --out {{here}}/sweep --set training.lr=0.01,0.001 {SMALL}"),
    ("audit labels", "audit {here}/data --run {here}/cv --out {here}/audit-run --fix {here}/mended.csv"),
    ("summary", "summary --recipe compact"),
]
REAL = [
    ("real audit", "audit {real}/seed-cxr --out {here}/real-audit"),
    ("real predict", "predict {real}/seed-cxr/val --json {here}/real.json"),
]


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--renamed", type=Path, default=Path(__file__).with_name("renames.json"))
    parser.add_argument("--only", help="commands that this expression finds")
    given = parser.parse_args()
    found = record(given.only)
    given.file.write_text(json.dumps(found, indent=0, sort_keys=True))
    if not given.against:
        return 0
    renamed = json.loads(given.renamed.read_text()) if given.renamed.exists() else {}
    against = given.against.read_bytes()
    against = lzma.decompress(against) if given.against.suffix == ".xz" else against
    differing = list(differences(rename(json.loads(against), renamed), found))
    print(*differing, f"{len(differing)} differences", sep="\n")
    return bool(differing)


def record(only: str | None) -> dict[str, Any]:
    """Every value of every output, by file and key."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        here = Path(folder).resolve()
        real = os.environ.get("HILUM_REAL", "")
        for name, arguments in COMMANDS + (REAL if real else []):
            if only and not re.search(only, name):
                continue
            start = time.monotonic()
            words = [word.format(here=here, real=real) for word in arguments.split()]
            environment = os.environ | {"HILUM_LEDGER": str(here / "ledger.jsonl"), "HILUM_CACHE": str(here / "cache")}
            ended = subprocess.run(
                [sys.executable, "-m", "hilum", *words], capture_output=True, text=True, env=environment, check=False
            )
            found[f"exit:{name}"] = ended.returncode
            print(f"{name}: exit {ended.returncode}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            if ended.returncode:
                print(ended.stderr[-1500:], file=sys.stderr)
        for path in sorted(here.rglob("*")):
            where = path.relative_to(here).as_posix()
            if path.is_file() and not where.startswith("cache/") and not path.is_symlink():
                found |= {f"{where}:{key}": value for key, value in contents(path, here)}
    return found


def contents(path: Path, here: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds, as flat keys and values."""
    if path.suffix == ".json":
        yield from flat(lines(path), here)
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                yield from flat(row, here, f"{number}")
    elif path.suffix in (".png", ".safetensors"):
        yield "sha256", hashlib.sha256(path.read_bytes()).hexdigest()
    elif path.suffix == ".onnx":
        import onnx

        for entry in onnx.load(str(path), load_external_data=False).metadata_props:
            try:
                value = json.loads(entry.value)
            except json.JSONDecodeError:
                value = entry.value
            yield from flat(value, here, entry.key)
    else:
        yield "exists", True


def lines(path: Path) -> Any:
    """A JSON document, or one a line."""
    text = path.read_text()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def flat(value: Any, here: Path, key: str = "") -> Iterator[tuple[str, Any]]:
    """Keys joined by dots, and what they lead to."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in VOLATILE:
                yield from flat(item, here, f"{key}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from flat(item, here, f"{key}.{number}")
    else:
        if isinstance(value, str):
            value = value.replace(str(here), "HERE")
            value = float(value) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", value) else value
        yield key, value


def rename(old: dict[str, Any], renamed: dict[str, Any]) -> dict[str, Any]:
    """What was recorded, with the names of today.

    ``keys`` maps segments of keys, ``values`` whole strings, ``patterns`` regular expressions of whole keys;
    ``gone`` lists expressions of keys that are no longer written, each with the reason beside it.
    """
    segments, values = renamed.get("keys", {}), renamed.get("values", {})
    result = {}
    for key, value in old.items():
        if any(re.search(gone, key) for gone in renamed.get("gone", {})):
            continue
        file, _, rest = key.partition(":")
        rest = ".".join(segments.get(part, part) for part in rest.split("."))
        whole = f"{file}:{rest}"
        for pattern, new in renamed.get("patterns", {}).items():
            whole = re.sub(pattern, new, whole)
        result[whole] = values.get(value, value) if isinstance(value, str) else value
    return result


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Lines that say what differs; what is new is no difference."""
    for key, value in old.items():
        if key not in new:
            yield f"missing: {key} = {value!r}"
        elif not same(value, new[key]):
            yield f"differs: {key}: {value!r} -> {new[key]!r}"


def same(a: Any, b: Any) -> bool:
    """Equal; numbers to rounding; prose by presence."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a == b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, str) and isinstance(b, str) and " " in a:
        return bool(b)
    return bool(a == b)


if __name__ == "__main__":
    sys.exit(main())
