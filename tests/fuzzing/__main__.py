"""``make fuzz``: each kind of input in a process of its own, guided by coverage (Atheris), for SECONDS in all.

An input that leads to anything but a sound result or one of hilum's errors, takes 25 seconds or 2 GiB is kept in
``tests/corpus/<target>``, where the ordinary tests try it again for good.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from fuzzing.targets import CORPUS, TARGETS, corpus

SECONDS_EACH, MEBIBYTES_EACH = 25, 2048


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Give one target inputs until the time is over; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["hilum"], enable_loader_override=False):
        import hilum.data.cache
        import hilum.data.images
        import hilum.data.readers.read
        import hilum.evaluation.ledger
        import hilum.evaluation.predictions
        import hilum.serving.predictor
        import hilum.training.recipe  # noqa: F401
    make, seeds, mutate = TARGETS[name]
    sound = seeds()

    def mutator(content: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        start = content if content and random.random() < 0.7 else random.choice(sound)
        changed: bytes = mutate(start, sound, random)
        return changed[:most]

    with make() as run:
        atheris.Setup(["fuzz", *arguments], run, custom_mutator=mutator)
        atheris.Fuzz()


def fuzz(name: str, seconds: int, seed: int) -> tuple[str, bool]:
    """Fuzz a target in a process.

    Returns:
        A line of the table, and whether nothing was found.
    """
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    before = set(corpus(name))
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        own, messages = room / "corpus", room / "messages"
        own.mkdir()
        for number, content in enumerate(TARGETS[name][1]()):
            (own / f"seed-{number}").write_bytes(content)
        options = [
            *(f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={SECONDS_EACH}"),
            *(f"-rss_limit_mb={MEBIBYTES_EACH}", f"-artifact_prefix={kept}/", "-print_final_stats=1"),
            *("-max_len=200000", str(own), str(kept)),
        ]
        command = [sys.executable, "-m", "fuzzing", "--only", name, "--", *options]
        with messages.open("wb") as file:  # libtiff writes there, too, whatever it likes
            done = subprocess.run(command, stdout=file, stderr=file, env=os.environ | {"HILUM_CACHE": folder})
        said = messages.read_text(errors="replace")
    count = re.findall(r"stat::number_of_executed_units: (\d+)", said)
    used = [int(value) for value in re.findall(r"rss: (\d+)Mb", said)]
    found = sorted(set(corpus(name)) - before)
    sound = done.returncode == 0 and not found
    if not sound:
        print(said[-4000:], *(f"kept: {file}" for file in found), sep="\n")
    inputs = int(count[-1]) if count else 0
    middle = used[len(used) // 2] if used else 0
    return f"| {name} | {inputs:,} | {middle} | {used[-1] if used else 0} | {len(found)} |", sound


def main() -> int:
    """All targets, or those that are named."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(TARGETS), help="in this process, with options of libFuzzer after --")
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args()
    if given.only:
        fuzz_one(given.only, given.targets)
    names = given.targets or list(TARGETS)
    print("| input | tried | MiB halfway | MiB at the end | answered wrongly |\n|---|---|---|---|---|")
    sound = True
    for name in names:
        line, fine = fuzz(name, max(1, given.seconds // len(names)), given.seed)
        print(line, flush=True)
        sound &= fine
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
