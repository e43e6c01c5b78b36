"""The gains of reproduction.md, corrected for their number: ``python studies/seeds_and_patients.py``.

docs/results/reproduction.json has each gain with its interval over seeds and patients (`studies/make.py`). Here the
interval is widened by Bonferroni's correction, wholly by the quantiles of the seeds, which are the wider ones.
"""

from __future__ import annotations

import json
from typing import Any

from scipy.special import stdtrit

from document import DOCS

CLAIMS = 7  # with such an interval on that page


def gain(name: str, found: dict[str, Any], measure: str) -> str:
    """``+1.2 (-0.8 to +3.2), corrected (-2.0 to +4.4)``, in points, and the gains of the seeds."""
    ends = corrected(found["difference"][measure], len(found["seeds"]))
    seeds = ", ".join(f"{100 * each:+.1f}" for each in found["gains"][measure])
    text = "{}: {:+.1f} ({:+.1f} to {:+.1f}), corrected ({:+.1f} to {:+.1f}); by seed {}"
    return text.format(f"{name}, {measure}", *(100 * end for end in ends), seeds)


def corrected(found: dict[str, float], seeds: int) -> tuple[float, ...]:
    """Value and ends of an interval, and the ends of the corrected one."""
    value, low, high = (found[end] for end in ("value", "low", "high"))
    wider = stdtrit(seeds - 1, 1 - 0.025 / CLAIMS) / stdtrit(seeds - 1, 0.975)
    return value, low, high, value - wider * (value - low), value + wider * (high - value)


def main() -> None:
    facts = json.loads((DOCS / "results" / "reproduction.json").read_text())
    print(gain("cascade", facts["hierarchy"]["cascade"], "accuracy"))
    for name, found in facts["augmentation"].items():
        if name != "none":
            print(gain(name, found, "accuracy"))
    for measure in ("accuracy", "recall infected/covid"):
        print(gain("fewest false negatives", facts["false_negatives"]["false_negatives"], measure))
    flat = facts["harder"]["compact, flat"]
    ends = corrected(flat["mean"]["AUROC gap"], len(flat["seeds"]))
    print("AUROC gap: {:+.3f} ({:+.3f} to {:+.3f}), corrected ({:+.3f} to {:+.3f})".format(*ends))


if __name__ == "__main__":
    main()
