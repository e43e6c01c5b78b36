"""What local contrast costs of a step of the default recipe: ``python -m studies.local_contrast_cost DATA``.

Two trainers make steps in turn, one of them without it. It prints images a second and the median ratio of the pairs, of
the small images of the first 60 % of the steps and of the whole ones that follow.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack

from benchmarks.child import Contestant
from benchmarks.measurement import in_turn

STEPS = 62
SMALL, WHOLE = slice(2, 34), slice(40, 60)  # the change itself, and the first steps, are left out


def main(data: str) -> None:
    ours = ("hilum", data, "compact", str(STEPS), "batch_size=64")
    with ExitStack() as stack:
        beside = [stack.enter_context(Contestant(*ours, *extra)) for extra in ((), ("local_contrast=0",))]
        works = {"with": beside[0].step, "without": beside[1].step}
        found = in_turn(works, WHOLE.stop, lambda _: None)
    for part in (SMALL, WHOLE):
        rates = {name: round(statistics.median(values[part]), 1) for name, values in found.items()}
        pairs = zip(found["with"][part], found["without"][part], strict=True)
        print(rates, round(statistics.median(without / mine for mine, without in pairs), 3))


if __name__ == "__main__":
    main(sys.argv[1])
