"""What the tests of shift can see: a new subgroup of 10 % whose scores are low, in the samples of a certificate.

``python studies/shift_power.py`` fills the table "shift-power" of evaluation.md. Scores are uniform, and the
threshold misses 2 % of the reference; the subgroup's scores lie below it, so that 12 % are missed. Of 64 features the
subgroup differs in 8 by three standard deviations. Nothing differs in the rows without a subgroup.
"""

from __future__ import annotations

import numpy as np

from document import fill
from hilum.evaluation.ood_reference import two_sample
from hilum.stats.exchangeability import exchangeable_p, lower_tail_p

RUNS = 200
SIZES = ((65, 117), (147, 117), (147, 194))
MISSED = 0.02
TESTS = 4  # the fourth looks at patients without the disease, who do not differ here


def powers(reference: int, here: int, share: float) -> dict[str, float]:
    """How often each test finds a difference at 5 %, and all together, corrected."""
    found = {"p_group": 0, "p_tail": 0, "p_features": 0, "together": 0}
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        before, after = generator.random(reference), generator.random(here)
        features = generator.normal(size=(reference + here, 64))
        new = generator.random(here) < share
        after = np.where(new, MISSED * generator.random(here), after)
        features[reference:][new, :8] += 3
        second = np.repeat([False, True], [reference, here])
        told = two_sample(features, second, np.zeros(len(second), np.int64), permutations=399, seed=seed)
        others = exchangeable_p(generator.random(60), generator.random(120), permutations=399, seed=seed)
        p = {
            "p_group": exchangeable_p(before, after, permutations=399, seed=seed),
            "p_tail": lower_tail_p(before, after, permutations=399, seed=seed),
            "p_features": told[0] if told else 1.0,
        }
        for name, value in p.items():
            found[name] += value <= 0.05
        found["together"] += TESTS * min(*p.values(), others) <= 0.05
    return {name: count / RUNS for name, count in found.items()}


def rows() -> list[str]:
    """The table."""
    made = ["| new subgroup | reference, here | Cramér-von Mises | lower tail | features | together |"]
    made.append("|---|---|---|---|---|---|")
    for share in (0.0, 0.05, 0.10):
        for reference, here in SIZES:
            shares = powers(reference, here, share)
            cells = " | ".join(f"{100 * value:.0f} %" for value in shares.values())
            made.append(f"| {100 * share:.0f} % | {reference}, {here} | {cells} |")
    return made


if __name__ == "__main__":
    fill("explanation/evaluation.md", {"shift-power": "\n".join(rows())})
