"""Several certificates on the same patients: how often one is wrong, alone and with the ledger's rule.

python studies/ledger_simulations.py    # writes the tables of docs/explanation/evaluation.md, about a minute
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, norm

from document import fill
from hilum.evaluation.certificate import allowed_rank
from hilum.evaluation.ledger import image_set
from hilum.evaluation.spending import Asked, Attempt, grant

RUNS, DELTA, BOUND = 2000, 0.05, 0.05
DISTANCE, CORRELATION, HEALTHY = 2.5, 0.7, 60  # of the scores of the ill; between models; patients
BOUNDS = (0.02, 0.05, 0.10, 0.15, 0.20)
PATIENTS = image_set(f"{number:016x}".ljust(64, "0") for number in range(3))


def levels(attempts: int) -> list[float]:
    """The confidence at which each of some planned attempts on the same patients is certified, by the ledger's rule."""
    made: list[Attempt] = []
    found = []
    for number in range(attempts):
        given = grant(made, [], Asked(f"{number}", f"{number}", PATIENTS, 1 - DELTA, attempts))
        made.append(given.attempt)
        found.append(given.level)
    return found


def best_of(models: int, patients: int, *, ledger: bool, runs: int = RUNS, seed: int = 5) -> float | None:
    """How often the kept certificate is wrong: of equally good models the one that flags the fewest healthy patients.

    Args:
        models: How many.
        patients: With the disease, who certify all of them.
        ledger: Whether the attempts were planned, or each was certified as if it were the only one.
        runs: Of the simulation.
        seed: Of the simulation.

    Returns:
        The share of runs in which its true false-negative rate is above the bound; None where the first is refused.
    """
    generator, broken = np.random.default_rng(seed), 0
    ranks = [allowed_rank(patients, BOUND, level) for level in (levels(models) if ledger else [1 - DELTA] * models)]
    if not all(ranks):
        return None
    shared, own = np.sqrt(CORRELATION), np.sqrt(1 - CORRELATION)
    for _ in range(runs):
        ill = DISTANCE + shared * generator.normal(size=(patients, 1)) + own * generator.normal(size=(patients, models))
        healthy = shared * generator.normal(size=(HEALTHY, 1)) + own * generator.normal(size=(HEALTHY, models))
        ordered = np.sort(ill, axis=0)
        thresholds = np.array([ordered[rank - 1, model] for model, rank in enumerate(ranks)])
        flagged = (healthy >= thresholds).mean(axis=0) + 1e-9 * generator.random(models)
        broken += norm.cdf(thresholds[np.argmin(flagged)] - DISTANCE) > BOUND
    return broken / runs


def any_bound(patients: int, *, ledger: bool, runs: int = RUNS, seed: int = 1) -> float:
    """How often some certificate is wrong of one model with several bounds; those that are refused count as right."""
    scores = np.sort(np.random.default_rng(seed).random((runs, patients)), axis=1)
    given = levels(len(BOUNDS)) if ledger else [1 - DELTA] * len(BOUNDS)
    ranks = {bound: allowed_rank(patients, bound, level) for bound, level in zip(BOUNDS, given, strict=True)}
    wrong = [scores[:, rank - 1] > bound for bound, rank in ranks.items() if rank]
    return float(np.any(wrong, axis=0).mean())


def any_group(groups: int, patients: int, *, ledger: bool, runs: int = RUNS, seed: int = 2) -> float:
    """How often some certificate is wrong of several groups, each of so many patients whose scores are independent."""
    scores = np.sort(np.random.default_rng(seed).random((runs, groups, patients)), axis=2)
    given = levels(groups) if ledger else [1 - DELTA] * groups
    ranks = [allowed_rank(patients, BOUND, level) for level in given]
    wrong = [scores[:, group, rank - 1] > BOUND for group, rank in enumerate(ranks) if rank]
    return float(np.any(wrong, axis=0).mean())


def conservatism(patients: range) -> tuple[float, float]:
    """The smallest and largest probability that a certificate is wrong, of continuous scores, over numbers of patients.

    It is BinomCDF(k - 1; n, bound), the law of the k-th of n sorted uniform numbers.
    """
    ranks = {n: allowed_rank(n, BOUND, 1 - DELTA) for n in patients}
    wrong = [float(binom.cdf(rank - 1, n, BOUND)) for n, rank in ranks.items() if rank]
    return min(wrong), max(wrong)


def tables() -> dict[str, str]:
    """Markdown by key."""
    rows = ["| ill patients | models | each certified alone, the best kept | planned |", "|---|---|---|---|"]
    for patients in (59, 181, 300):
        for models in (1, 3, 5, 10):
            alone, planned = (best_of(models, patients, ledger=ledger) for ledger in (False, True))
            rows.append(f"| {patients} | {models} | {_share(alone)} | {_share(planned)} |")
    several = ["| attempts on 181 ill patients | some one wrong, each alone | planned |", "|---|---|---|"]
    several.append(
        f"| one model, bounds of {', '.join(f'{100 * bound:.0f}' for bound in BOUNDS)} % "
        f"| {_share(any_bound(181, ledger=False))} | {_share(any_bound(181, ledger=True))} |"
    )
    for groups in (2, 5, 10):
        alone, planned = (any_group(groups, 181, ledger=ledger) for ledger in (False, True))
        several.append(f"| {groups} groups of so many, 5 % | {_share(alone)} | {_share(planned)} |")
    low, high = conservatism(range(59, 401))
    exact = f"{100 * low:.1f} to {100 * high:.1f} %"
    return {"ledger": "\n".join(rows), "ledger-several": "\n".join(several), "conservatism": exact}


def _share(value: float | None) -> str:
    return "refused" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    found = tables()
    print("A certificate of 5 % at 95 % is wrong, by the number of patients (59 to 400):", found.pop("conservatism"))
    fill("explanation/evaluation.md", found)
