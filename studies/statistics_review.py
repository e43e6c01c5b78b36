"""What a hostile review found, before and now: ``python studies/statistics_review.py RUN`` fills evaluation.md.

The review attacked hilum at commit 1e3a59c with simulations of its own. Each function here does one of them again with
today's code, and puts the review's figure beside today's. RUN is the default run on *seed-cxr* (seed 0), evaluated with
its certificate for `infected/covid` at 5 %. It takes some ten minutes on one core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import binom, norm

from document import fill
from hilum.evaluation.differences import paired_differences
from hilum.stats.auc import auroc_estimate
from hilum.stats.hypothesis_tests import sign_flip_if_exchangeable, studentised_bootstrap
from hilum.stats.intervals import Patients, exact_interval, proportion
from hilum.stats.verdicts import at_most, patients_to_decide
from interval_coverage import sizes
from ledger_simulations import any_bound, any_group, best_of
from passing import calibration
from shift_power import powers
from triage_simulations import one_image

Row = tuple[str, str, str, str]  # script, question, before, now
ALIKE, CUT = 0.6, 0.8


def percent(share: float) -> str:
    """``4.7 %``."""
    return f"{100 * share:.1f} %"


def recall(found: int, ill: int) -> tuple[float, float]:
    """Limits of a recall with one image a patient."""
    one = proportion(np.arange(ill) < found, np.full(ill, True), Patients(np.arange(ill)))
    return one.low, one.high


def few_misses() -> Iterator[Row]:
    """g_ext.py: is the bound monotone, and does it hold where three misses are expected?"""
    for found, ill, before in ((49, 50, "6.7 %"), (116, 117, "2.8 %"), (399, 400, "0.8 %")):
        bound, better = 1 - recall(found, ill)[0], 1 - recall(found + 1, ill)[0]
        now = f"{percent(bound)} (no miss: {percent(better)})"
        yield "g_ext.py", f"upper limit of the false-negative rate, {found} of {ill} found", before, now
    held, unsafe = [], []
    for ill in (50, 100, 200, 400, 1000):
        limits = [recall(ill - missed, ill) for missed in range(31)]
        for misses in (1.5, 2.5, 3.05, 3.3, 3.6, 4.5, 5.5, 8):
            true, chance = 1 - misses / ill, binom.pmf(np.arange(31), ill, misses / ill)
            held.append(sum(p for p, (low, high) in zip(chance, limits, strict=True) if low <= true <= high))
            unsafe.append(sum(p for p, (low, _) in zip(chance, limits, strict=True) if true < low))
    yield "g_ext.py", "lowest coverage of the recall, 1.5 to 8 misses expected", "87 %", percent(min(held))
    yield "g_ext.py", "most often above the true recall (2.5 % allowed)", "12 %", percent(max(unsafe))


def test_set(generator: np.random.Generator, patients: int, kind: str, ill: np.ndarray, effect: float) -> tuple:
    """Scores, truth and patient of each image, as the review drew them."""
    member = np.repeat(np.arange(patients), sizes(generator, kind, patients))
    own = effect * ill + np.sqrt(ALIKE) * generator.normal(size=patients)
    return own[member] + np.sqrt(1 - ALIKE) * generator.normal(size=len(member)), ill[member], member


def coverage(patients: int, kind: str, ill: int | float, effect: float, runs: int = 300) -> dict[str, float]:
    """Share of intervals that hold the truth: accuracy, recall, precision, AUROC, paired difference of accuracy."""
    generator, held, counted = np.random.default_rng([patients, 5]), dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
    spread, share = np.sqrt(1.64), ill if ill < 1 else ill / patients
    right, clear = norm.sf(CUT - effect), norm.cdf(CUT)
    again, also = norm.sf((CUT - effect) / spread), norm.cdf(CUT / spread)
    truth = {
        "accuracy": share * right + (1 - share) * clear,
        "recall": right,
        "precision": share * right / (share * right + (1 - share) * (1 - clear)),
        "AUROC": norm.cdf(effect / np.sqrt(2)),
        "paired difference": share * (again - right) + (1 - share) * (also - clear),
    }
    for _ in range(runs):
        has = np.arange(patients) < ill if ill >= 1 else generator.random(patients) < ill
        if not 2 <= has.sum() <= patients - 2:
            continue
        score, sick, member = test_set(generator, patients, kind, has, effect)
        called, vague = score > CUT, score + 0.8 * generator.normal(size=len(score)) > CUT
        people, everything = Patients(member), np.full(len(score), True)
        pairs = paired_differences(
            sick.astype(np.int64), called.astype(np.int64), vague.astype(np.int64), ("-", "+"), member
        )
        found = {
            "accuracy": proportion(called == sick, everything, people).as_json(),
            "recall": proportion(called, sick, people).as_json(),
            "precision": proportion(sick, called, people).as_json(),
            "AUROC": auroc_estimate(score, sick, people).as_json(),
            "paired difference": pairs.accuracy.difference.as_json(),
        }
        for name, entry in found.items():
            if entry["low"] is not None:
                counted[name] += 1
                held[name] += entry["low"] - 1e-12 <= truth[name] <= entry["high"] + 1e-12
    return {name: held[name] / counted[name] for name in NAMES}


NAMES = ("accuracy", "recall", "precision", "AUROC", "paired difference")


def intervals() -> Iterator[Row]:
    """c_cover.py and m_fix.py: coverage where patients are few or have unequal numbers of images."""
    asked = (
        (300, "1", 10, 1.6, "ten ill of 300", {"AUROC": "86 %"}),
        (300, "1 to 3", 10, 1.6, "ten ill of 300, 1 to 3 images", {"AUROC": "87 %"}),
        (100, "1 to 3", 1 / 3, 2.6, "100 patients, AUROC 0.967", {"AUROC": "90.0 %"}),
        (30, "1 to 60", 1 / 3, 1.6, "30 patients, heavy tail of images", {"accuracy": "89.8 %", "AUROC": "88.6 %"}),
        (100, "1 to 60", 1 / 3, 1.6, "100 patients, heavy tail", {"recall": "91.6 %", "precision": "91.2 %"}),
        (10, "one has 40", 1 / 3, 1.6, "ten patients, one with 40 images", {"paired difference": "79.0 %"}),
    )
    for patients, kind, ill, effect, what, before in asked:
        now = coverage(patients, kind, ill, effect)
        for name, value in before.items():
            yield "c_cover.py, m_fix.py", f"coverage of the {name}: {what}", value, percent(now[name])


def equal_accuracy(runs: int = 500) -> Iterator[Row]:
    """E12: two equally accurate classifiers, one of which gains single images and loses rare patients of twenty."""
    for patients, before in ((30, "56 %"), (100, "15 %"), (400, "9 %")):
        generator, rejected = np.random.default_rng([patients, 12]), np.zeros(2)
        for _ in range(runs):
            large = generator.random(patients) < 0.05
            lost = np.where(generator.random(patients) < 0.4, -20.0, 0.0)
            won = np.where(generator.random(patients) < 0.05 * 20 * 0.4 / 0.95, 1.0, 0.0)
            gained, many = np.where(large, lost, won), np.where(large, 20.0, 1.0)
            tests = sign_flip_if_exchangeable(gained, many), studentised_bootstrap(gained, many, resamples=999)
            rejected += [test.p_value < 0.05 for test in tests]
        now = f"{percent(rejected[1] / runs)} (sign-flip {percent(rejected[0] / runs)})"
        yield "E12", f"equal accuracy rejected at 5 %, {patients} patients of 1 or 20 images", before, now


def certificates() -> Iterator[Row]:
    """b_cert.py and p_ledger.py: several certificates on the same patients."""
    for patients, before in ((59, "24.1 %"), (181, "20.1 %"), (300, "12.6 %")):
        now = best_of(10, patients, ledger=True)
        asked = f"kept certificate wrong, best of 10 models, {patients} ill patients"
        yield "p_ledger.py, b_cert.py", asked, before, "refused" if now is None else percent(now)
    for what, before, found in (
        ("five bounds on 181 patients, some one wrong", "12.5 %", any_bound(181, ledger=True)),
        ("five groups of 181 patients, some one wrong", "21.9 %", any_group(5, 181, ledger=True)),
        ("ten groups of 181 patients, some one wrong", "39.2 %", any_group(10, 181, ledger=True)),
    ):
        yield "b_cert.py", what, before, percent(found)
    for correlation, before in ((0.5, "26.9 %"), (0.7, "15.4 %"), (0.9, "6.6 %")):
        found = one_image([10], correlation)
        now = f"{percent(found['mean own'])} (wrong in {percent(found['own threshold'])})"
        yield "b2_cluster.py", f"one image missed at a bound of 5 %, ten images, correlation {correlation}", before, now


def verdicts() -> Iterator[Row]:
    """n_pass.py and i_ece.py: what passes."""
    for missed, ill in ((0, 1), (3, 20), (10, 117)):
        limits = exact_interval(missed / ill, ill)
        now = f"{at_most(limits['low'], limits['high'], 0.05)}; {patients_to_decide(missed / ill, 0.05)} would decide"
        yield "n_pass.py", f"false-negative rate at most 5 %: {missed} of {ill}", "PASS", now
    for patients, slope, before in ((20, 2.0, "50 %"), (50, 2.0, "33 %"), (100, 1.5, "62 %")):
        now = percent(calibration(patients, slope)["shown"])
        yield "i_ece.py", f"calibration passes, {slope:g} times overconfident, {patients} patients", before, now


def shift() -> Iterator[Row]:
    """E10: a new subgroup of 10 % that lifts the false-negative rate from 2 to 12 %."""
    for (reference, here), before in (((65, 117), "10 %"), ((147, 117), "20 %"), ((147, 194), "29 %")):
        found = powers(reference, here, 0.10)
        now = f"{percent(found['together'])} (lower tail alone {percent(found['p_tail'])})"
        yield "E10", f"new subgroup of 10 % seen, {reference} patients against {here}", before, now


def of_run(metrics: dict) -> Iterator[Row]:
    """e_gate.py and l_extra.py: the default run on *seed-cxr*."""
    for label, before in (("normal", "-"), ("infected/covid", "-"), ("infected/non-covid", "PASS (not judged)")):
        found = metrics["shortcuts"]["labels"][label]
        nearest = min(found["baselines"], key=lambda entry: entry["difference"]["low"])
        lead = "{value:+.3f} ({low:+.3f} to {high:+.3f})".format(**nearest["difference"])
        now = f"{found['verdict']}: {lead} over {nearest['name']}"
        yield "e_gate.py, l_extra.py", f"shortcut verdict of {label}", before, now
    judged = metrics["decision_curve"]["judged"]
    rows = {(row["prevalence"], row["threshold"]): row for row in metrics["decision_curve"]["table"]}
    for (prevalence, threshold), before in (((0.01, 0.05), "-2.47"), ((0.05, 0.05), "+1.67"), ((0.05, 0.10), "-2.03")):
        row = rows[prevalence, threshold]
        benefit = "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * row["rules"][judged][k] for k in ENDS))
        what = f"net benefit per 100, prevalence {100 * prevalence:g} %, threshold {100 * threshold:g} %"
        now = benefit + (", at the top of the report" if row["rules"][judged]["value"] < 0 else "")
        yield "l_extra.py", what, f"{before}, not shown", now
    errors = f"{percent(metrics['ece_top_label']['value'])}, {percent(metrics['ece_class_wise']['value'])}"
    yield "E11", "top-label and class-wise ECE; log-loss", "11.2, 7.4 %; 0.393", f"{errors}; {metrics['log_loss']:.3f}"
    for (label, found), before in zip(metrics["calibration_by_label"].items(), ("1.48", "1.65", "1.82"), strict=True):
        slope = found["slope"]
        now = f"{slope['value']:.2f} ({slope['low']:.2f} to {slope['high']:.2f}) {slope['direction']}".strip()
        yield "E11", f"calibration slope of {label}", f"not given ({before})", now
    found = metrics["detectable"]
    yield (
        "E13",
        "detectable difference, 419 patients",
        "3.6 % (power one half)",
        f"{percent(found['value'])} (80 % power)",
    )


ENDS = ("value", "low", "high")
PARTS = (few_misses, intervals, equal_accuracy, certificates, verdicts, shift)


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| script | what | before | now |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    run = Path(sys.argv[1]) / "evaluation" / "test" / "metrics.json"
    made = [row for part in PARTS for row in part()]
    fill("explanation/evaluation.md", {"review": table([*made, *of_run(json.loads(run.read_text(encoding="utf-8")))])})
