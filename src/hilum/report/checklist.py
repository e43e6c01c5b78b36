"""What a report has to contain, item by item, each computed from what the run's files hold.

PASS is what is shown (the interval's unfavourable limit meets the bound), or there where an item asks for a statement.
FAIL is what is refuted, or absent where it has to be. UNKNOWN is what is not shown, not written down or not measured:
the evidence says what would decide. REPORTED are figures that no bound judges: they say nothing of being good enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from hilum.data.patients import in_words
from hilum.evaluation.accesses import access_sentence
from hilum.evaluation.certificate_check import verdict_of
from hilum.evaluation.decision_curve import harm_sentence, worse_than_nothing
from hilum.evaluation.differences import drop_sentence
from hilum.evaluation.ood_reference import FACTOR
from hilum.evaluation.shortcut_baselines import gate_sentence
from hilum.evaluation.subgroups import MARGIN, subgroup_sentences, subgroup_verdict
from hilum.report import checklist_data as data
from hilum.report.certificate_text import (
    certified_sentence,
    exchangeability_sentence,
    holding_sentence,
    sensitivity_sentence,
)
from hilum.report.checklist_data import NOT_EVALUATED, OLDER, Facts, Outcome, State
from hilum.report.evaluation_console import abstention_sentences, flagged_labels, reliance_sentence, relied_on
from hilum.report.member_text import network_of, preprocessing_of, seeds_of
from hilum.stats.calibration_slope import calibration_sentences, calibration_verdict
from hilum.stats.exchangeability import DIFFER
from hilum.stats.records import CalibrationError, Verdict
from hilum.stats.verdicts import REFUTED, SHOWN, at_most, detectable_sentence, not_lower, weakest
from hilum.text import fraction, fraction_range, percent, percent_range

DROP = 0.05  # by which balanced accuracy may be lower on other data
STATES: dict[Verdict, State] = {"shown": "PASS", "not shown": "UNKNOWN", "refuted": "FAIL"}
INTENDED = "For teaching, and for research on its own data."
NOT_INTENDED = (
    "It must not be used for decisions about patients, on images of other hospitals without certification there, or on "
    "images other than frontal chest radiographs."
)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist."""

    number: int
    name: str
    state: State
    evidence: str


def checklist(facts: Facts) -> list[Item]:
    """All 25 items in their order; of several findings an image each item as the finding that answers it worst."""
    if facts.findings:
        each = {name: checklist(facts.about(name)) for name in facts.findings.worst_first()}
        return [_worst(dict(zip(each, items, strict=True))) for items in zip(*each.values(), strict=True)]
    return [Item(number, name, *answer(facts)) for number, (name, answer) in enumerate(ITEMS, start=1)]


def _worst(items: Mapping[str, Item]) -> Item:
    """The least favourable answer to one item; its evidence names the finding where findings differ."""
    order: tuple[State, ...] = ("FAIL", "UNKNOWN", "REPORTED", "PASS")
    finding, worst = min(items.items(), key=lambda pair: order.index(pair[1].state))
    if len({(item.state, item.evidence) for item in items.values()}) == 1:
        return worst
    count = sum(item.state == worst.state for item in items.values())
    told = f"{count} of {len(items)} findings {worst.state}, such as {finding}: {worst.evidence}"
    return replace(worst, evidence=told)


def tally(items: Sequence[Item]) -> str:
    """``11 PASS, 2 FAIL, 6 REPORTED, 6 UNKNOWN``."""
    counts = Counter(item.state for item in items)
    return ", ".join(f"{counts[state]} {state}" for state in get_args(State))


def _use(facts: Facts) -> Outcome:
    told = f"distinguishes {', '.join(facts.run.labels)}. {INTENDED} {NOT_INTENDED}"
    if facts.run.positive_label:
        return "PASS", f"{told} {facts.run.positive_label} must not be missed"
    return "UNKNOWN", f"{told} The recipe names no positive label (positive_label)"


def _shortcuts(facts: Facts) -> Outcome:
    if not facts.metrics or not (gate := facts.metrics.shortcuts):
        return NOT_EVALUATED
    outside = {name: found for name, metrics in facts.external.items() if (found := metrics.shortcuts)}
    told = [gate_sentence(gate), *(f"{name}: {gate_sentence(found)}" for name, found in outside.items())]
    reliance = facts.metrics.reliance
    if reliance:
        told.append(reliance_sentence(reliance))
    unbeaten = any(found.verdict not in (SHOWN, None) for found in (gate, *outside.values()))
    if unbeaten or (reliance and any(relied_on(reliance))):
        return "FAIL", "; ".join(told)
    return ("PASS" if gate.verdict == SHOWN else "UNKNOWN"), "; ".join(told)


def _preprocessing(facts: Facts) -> Outcome:
    return "PASS", preprocessing_of(facts.run)


def _weights(facts: Facts) -> Outcome:
    weights = facts.run.environment.weights_sha256
    if not weights:
        return "UNKNOWN", "the training is not finished"
    return "PASS", f"{network_of(facts.run)}; SHA-256 {weights[:16]}"


def _budget(facts: Facts) -> Outcome:
    seed = seeds_of(facts.run.recipe)
    sweep = facts.run.path.parent.parent
    if (sweep / "sweep.json").exists():
        seed += f"; chosen in a sweep by validation ({sweep.name}/sweep.json)"
    if not facts.metrics:
        return "UNKNOWN", f"{seed}; {NOT_EVALUATED[1]}"
    # Of a later access nobody can tell whether the earlier ones chose anything.
    return ("PASS" if facts.access.confirmatory else "UNKNOWN"), f"{seed}; {access_sentence(facts.access)}"


def _size(facts: Facts) -> Outcome:
    if not facts.metrics or not (found := facts.metrics.detectable):
        return NOT_EVALUATED
    return ("REPORTED" if found.value is not None else "UNKNOWN"), detectable_sentence(found)


def _confusion(facts: Facts) -> Outcome:
    return ("REPORTED", f"rows truth: {facts.metrics.confusion}") if facts.metrics else NOT_EVALUATED


def _recall(facts: Facts) -> Outcome:
    return _by_label(facts, ("recall", "precision"), percent, percent_range)


def _area(facts: Facts) -> Outcome:
    return _by_label(facts, ("auroc",), fraction, fraction_range)


def _by_label(facts: Facts, names: Sequence[str], show: Callable[..., str], show_range: Callable[..., str]) -> Outcome:
    if not facts.metrics:
        return NOT_EVALUATED
    told = "; ".join(
        f"{name} {label} {show(entry.value)} ({show_range(entry)})"
        for name in names
        for label, entry in facts.metrics.by_label(name).items()
    )
    if facts.metrics.resampling_unit == "images":
        who = in_words(facts.metrics.with_patient, facts.metrics.n_images)
        return "UNKNOWN", f"{who}, so the intervals are optimistic: {told}"
    return "REPORTED", told


def _predictive(facts: Facts) -> Outcome:
    if not facts.metrics:
        return NOT_EVALUATED
    found = facts.metrics.predictive_values
    if not found:
        return "UNKNOWN", "no positive label, or no patients on one side"
    told = [f"at {percent(at.prevalence)}: PPV {percent(at.ppv.value)}, NPV {percent(at.npv.value)}"
            for at in found.at]  # fmt: skip
    if any(row.verdict == REFUTED for row in worse_than_nothing(facts.metrics.decision_curve)):
        told.append(harm_sentence(facts.metrics.decision_curve))
        return "FAIL", f"{found.label}, {'; '.join(told)}"
    return "REPORTED", f"{found.label}, {'; '.join(told)}"


def _calibration(facts: Facts) -> Outcome:
    if not facts.metrics:
        return NOT_EVALUATED
    metrics = facts.metrics
    told = [
        f"{name} ECE {percent(ece.value)}, noise floor {percent(ece.ece_null_mean)}{_seldom(ece)}"
        for name, ece in metrics.errors().items()
    ]
    found = metrics.calibration_by_label
    if not found:
        return OLDER
    verdict = calibration_verdict(found, metrics.ece_class_wise)
    return STATES[verdict], "; ".join([*told, *calibration_sentences(found)])


def _seldom(error: CalibrationError) -> str:
    high = error.ece_null_q95
    return "" if high is None else f" (95 % of calibrated models stay below {percent(high)})"


def _operating_point(facts: Facts) -> Outcome:
    metrics = facts.metrics
    held, certificate = (metrics.operating_point, metrics.certificate) if metrics else (None, None)
    if certificate and not held:
        return (
            "FAIL",
            f"{certified_sentence(certificate)}; but it was selected on the test patients",
        )
    if not held or not certificate:
        return "UNKNOWN", "no certificate in force: hilum certify RUN --sensitivity 0.95, then hilum evaluate RUN"
    shift = held.exchangeability
    told = [certified_sentence(certificate), f"on the test patients: {holding_sentence(held)}"]
    told += [exchangeability_sentence(shift)] if shift else []
    told += [sentence] if (sentence := sensitivity_sentence(held)) else []
    verdict = verdict_of(held)
    void = verdict == REFUTED or (shift and shift.p_value < DIFFER)
    state: State = "FAIL" if void else "PASS" if verdict == SHOWN else "UNKNOWN"
    return state, "; ".join(told)


def _subgroups(facts: Facts) -> Outcome:
    if not facts.metrics:
        return NOT_EVALUATED
    found = facts.metrics.subgroups
    if not found:
        return "UNKNOWN", "the table has no column of a few values (source, view, sex, age ...) to form subgroups by"
    if not all("against_rest" in entry.model_fields_set for parts in found.values() for entry in parts.values()):
        return OLDER
    told = ["by " + ", ".join(f"{name} ({len(values)})" for name, values in found.items())]
    verdict = subgroup_verdict(found)
    what = f"recall of {facts.run.positive_label}" if facts.run.positive_label else "accuracy"
    least = f"{what} at most {100 * MARGIN:g} points lower in each than in the rest: {verdict}"
    return STATES[verdict], "; ".join([*told, least, *subgroup_sentences(found, facts.run.positive_label)])


def _external(facts: Facts) -> Outcome:
    if facts.external_findings and not facts.external:
        names = ", ".join(facts.external_findings)
        return "UNKNOWN", f"measured on {names}; to compare, evaluate the test images, too: hilum evaluate RUN"
    if not facts.external:
        return "FAIL", "external validation: NONE"
    drops = {name: metrics.performance_drop for name, metrics in facts.external.items()}
    told = "; ".join(f"{name}: {drop_sentence(found) if found else 'measured'}" for name, found in drops.items())
    differences = [found.balanced_accuracy.difference for found in drops.values() if found]
    verdict = weakest([not_lower(difference, DROP) for difference in differences])
    return STATES[verdict], f"{told}; at most {100 * DROP:g} points lower there: {verdict}"


def _abstention(facts: Facts) -> Outcome:
    if not facts.metrics:
        return NOT_EVALUATED
    found = facts.metrics.abstention
    if not found:
        return "UNKNOWN", facts.metrics.abstention_note or "not measured"
    told = "; ".join(abstention_sentences(found, flagged_labels(facts.metrics)))
    told += "".join(
        f"; {name}: {abstention_sentences(m.abstention, flagged_labels(m))[0]}"
        for name, m in facts.external.items()
        if m.abstention
    )
    rate, bound = found.by_patient.one_image if found.by_patient else found.abstained, FACTOR * found.level
    verdict = at_most(rate.low, rate.high, bound)
    state: State = "PASS" if verdict == SHOWN else "FAIL" if verdict == REFUTED else "UNKNOWN"
    stated = f"stated rate of false abstentions {percent(found.level)}"
    return state, f"{stated}; {verdict} to be at most {percent(bound)}, as calibration sets vary; {told}"


def _gallery(facts: Facts) -> Outcome:
    if facts.errors_shown is None:
        return NOT_EVALUATED
    return "REPORTED", f"{facts.errors_shown} misclassified images are shown"


def _hashes(facts: Facts) -> Outcome:
    environment = facts.run.environment
    have = {
        "code": environment.code_sha256,
        "data": environment.data.digest,
        "environment": environment.packages_sha256,
        "weights": environment.weights_sha256,
    }
    told = ", ".join(f"{name} {value[:16]}" for name, value in have.items() if value)
    versions = f"Python {environment.python or '?'}, PyTorch {environment.torch or '?'}"
    missing = [name for name, value in have.items() if not value]
    return ("UNKNOWN" if missing else "PASS"), "; ".join(
        [told, versions, *([f"no hash of {', '.join(missing)}"] if missing else [])]
    )


ITEMS: tuple[tuple[str, Callable[[Facts], Outcome]], ...] = (
    ("intended use and non-uses", _use),
    ("source, dates, site, licence", lambda facts: data.columns(facts, "source", "date", "site", "licence")),
    ("age, sex and view by class", lambda facts: data.columns(facts, "age", "sex", "view", by_label=True)),
    ("how labels were made", lambda facts: data.columns(facts, "label_source")),
    ("whether labels are possible in time", data.possible),
    ("inclusions and exclusions with counts", data.counts),
    ("split unit and overlap", data.unit),
    ("duplicates", data.duplicates),
    ("source by label", data.sources),
    ("shortcut probes", _shortcuts),
    ("preprocessing and its hash", _preprocessing),
    ("model and provenance of weights", _weights),
    ("seeds, tuning budget, accesses to the test set", _budget),
    ("sample size and detectable difference", _size),
    ("confusion counts", _confusion),
    ("recall and precision with intervals", _recall),
    ("AUROC with interval", _area),
    ("predictive values and net benefit at other prevalences", _predictive),
    ("calibration with its noise floor", _calibration),
    ("operating point with its certificate", _operating_point),
    ("subgroups", _subgroups),
    ("external validation", _external),
    ("abstention", _abstention),
    ("gallery of errors", _gallery),
    ("hashes of code, data and environment", _hashes),
)
