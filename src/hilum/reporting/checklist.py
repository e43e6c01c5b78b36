"""What a report has to contain, item by item: PASS, FAIL or UNKNOWN, each computed from what the run's files hold.

UNKNOWN is what nobody wrote down, or what was not measured: the evidence says how it could be known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hilum.data.patients import in_words
from hilum.data.splits import UNUSED
from hilum.evaluation.certificate_screen import DIFFER, certified_sentence, exchangeability_sentence, holding_sentence
from hilum.evaluation.external import drop_sentence
from hilum.evaluation.reliance_sentence import reliance_sentence, relied_on
from hilum.evaluation.screen import abstention_sentences
from hilum.evaluation.shortcut_verdict import gate_sentence, read_gate
from hilum.evaluation.subgroups import in_order
from hilum.evaluation.verdicts import SHOWN
from hilum.reporting.results import fraction, fraction_range, percent, percent_range
from hilum.training.run import UNREADABLE, Run, SplitRow

State = Literal["PASS", "FAIL", "UNKNOWN"]
TOLERATED = 1.5  # times the noise floor, for evaluations that do not say what 95 % of calibrated models stay below
INTENDED = "For teaching, and research on the data it was made from."
NOT_INTENDED = (
    "It must not be used for decisions about patients, on other hospitals' images without certifying it there, or on "
    "anything but frontal chest radiographs."
)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist."""

    number: int
    name: str
    state: State
    evidence: str


@dataclass(frozen=True)
class Facts:
    """What the checklist is computed from.

    Attributes:
        run: The run.
        split: All rows of its ``split.csv``.
        metrics: Of its own test images; empty if they were not evaluated.
        external: Metrics of other data, by name.
        audit: What ``audit.json`` says of its data; empty without an audit.
        looks: How often the test images were evaluated by this run.
        errors_shown: How many wrongly answered images the gallery shows; None without a gallery.
    """

    run: Run
    split: Sequence[SplitRow]
    metrics: Mapping[str, Any]
    external: Mapping[str, Mapping[str, Any]]
    audit: Mapping[str, Any]
    looks: int
    errors_shown: int | None


Answer = tuple[State, str]
NOT_EVALUATED: Answer = ("UNKNOWN", "the test images were not evaluated yet: hilum evaluate RUN")


def checklist(facts: Facts) -> list[Item]:
    """All 25 items in their order."""
    return [Item(number, name, *answer(facts)) for number, (name, answer) in enumerate(ITEMS, start=1)]


def tally(items: Sequence[Item]) -> str:
    """``17 PASS, 2 FAIL, 6 UNKNOWN``."""
    counts = Counter(item.state for item in items)
    return ", ".join(f"{counts[state]} {state}" for state in ("PASS", "FAIL", "UNKNOWN"))


def _use(facts: Facts) -> Answer:
    told = f"tells {', '.join(facts.run.labels)} apart. {INTENDED} {NOT_INTENDED}"
    if facts.run.protected:
        return "PASS", f"{told} {facts.run.protected} must not be missed"
    return "UNKNOWN", f"{told} What must not be missed, the recipe does not say (protected)"


def _columns(facts: Facts, *wanted: str, by_label: bool = False) -> Answer:
    table = facts.metrics.get("table")
    if not table:
        return "UNKNOWN", "the data's table was not read: hilum evaluate RUN"
    found = {name: table["columns"][name] for name in wanted if name in table["columns"]}
    told = [
        f"{name.replace('_', ' ')} in column '{entry['column']}' ({percent(entry['filled'])} filled)"
        + (f": {_by_class(entry['by_label'])}" if by_label else "")
        for name, entry in found.items()
    ]
    missing = [name.replace("_", " ") for name in wanted if name not in found]
    if missing:
        told.append(f"no column of the table tells {', '.join(missing)}")
    complete = not missing and all(entry["filled"] == 1 for entry in found.values())
    complete = complete and not (by_label and any(entry["by_label"] is None for entry in found.values()))
    return ("PASS" if complete else "UNKNOWN"), "; ".join(told)


def _by_class(counts: Mapping[str, Mapping[str, int]] | None) -> str:
    if counts is None:
        return "too many values for a table"
    shown = (
        f"{label} ({', '.join(f'{value} {by[value]:,}' for value in sorted(by, key=in_order))})"
        for label, by in counts.items()
    )
    return ", ".join(shown)


def _possible(facts: Facts) -> Answer:
    impossible = [] if not facts.metrics.get("table") else list(facts.metrics["table"]["impossible"])
    impossible += [
        finding["message"]
        for finding in facts.audit.get("findings", [])
        if finding["check"] == "provenance" and finding["severity"] == "error"
    ]
    if impossible:
        return "FAIL", "; ".join(impossible)
    table = facts.metrics.get("table") or {}
    if date := table.get("columns", {}).get("date"):
        undated = table.get("undated", 0 if date["filled"] == 1 else table["n_images"])
        if not undated:
            return "PASS", "no label contradicts the images' dates"
        return "UNKNOWN", f"no label contradicts the images' dates, but {undated:,} images have none"
    return "UNKNOWN", "no dates in the table" + (
        "" if facts.audit else ", and no audit compared the images with known sets"
    )


def _counts(facts: Facts) -> Answer:
    counts = Counter(row.split for row in facts.split)
    used = ", ".join(f"{name} {n:,}" for name, n in counts.items() if name not in (UNUSED, UNREADABLE))
    return "PASS", f"{used}; unused {counts[UNUSED]:,}, unreadable {counts[UNREADABLE]:,}"


def _unit(facts: Facts) -> Answer:
    used = [row for row in facts.split if row.split not in (UNUSED, UNREADABLE)]
    known = sum(bool(row.patient_id) for row in used)
    if not used or known < len(used):
        return "UNKNOWN", f"split by {'patient' if known else 'image'}, {in_words(known, len(used))}: optimistic"
    crossing = _on_both_sides({(row.patient_id, row.split) for row in used})
    if crossing:
        return "FAIL", f"{crossing} patients are in more than one split"
    return "PASS", f"split by patient; none of {len({row.patient_id for row in used}):,} is in more than one split"


def _duplicates(facts: Facts) -> Answer:
    used = {(row.sha256, row.split) for row in facts.split if row.sha256 and row.split not in (UNUSED, UNREADABLE)}
    crossing = _on_both_sides(used)
    if crossing:
        return "FAIL", f"{crossing} files are in more than one split, byte for byte"
    if not facts.audit:
        return (
            "UNKNOWN",
            "no file is in two splits; near-duplicates are unknown: hilum audit DATA --out RUN/audit",
        )
    found = facts.audit["duplicates"]
    if found["across_splits"]:
        return "FAIL", f"{found['across_splits']} groups of copies are in more than one split of the dataset"
    return "PASS", f"{len(found['groups'])} groups of copies, none across splits"


def _sources(facts: Facts) -> Answer:
    table = facts.metrics.get("table") or {}
    if table.get("given_away"):
        return "FAIL", "; ".join(table["given_away"])
    source = table.get("columns", {}).get("source")
    if not source:
        return "UNKNOWN", "no column of the table says where images come from, or it is empty"
    if not source["by_label"]:
        return "UNKNOWN", "too many sources for a table"
    return "PASS", _by_class(source["by_label"])


def _shortcuts(facts: Facts) -> Answer:
    gate = read_gate(facts.metrics)
    if not gate:
        return NOT_EVALUATED
    outside = {name: found for name, metrics in facts.external.items() if (found := read_gate(metrics))}
    told = [gate_sentence(gate), *(f"{name}: {gate_sentence(found)}" for name, found in outside.items())]
    reliance = facts.metrics.get("reliance")
    if reliance:
        told.append(reliance_sentence(reliance))
    unbeaten = any(found["verdict"] not in (SHOWN, None) for found in (gate, *outside.values()))
    if unbeaten or (reliance and any(relied_on(reliance))):
        return "FAIL", "; ".join(told)
    return ("PASS" if gate["verdict"] == SHOWN else "UNKNOWN"), "; ".join(told)


def _preprocessing(facts: Facts) -> Answer:
    chosen = facts.run.recipe.preprocessing
    return "PASS", f"{chosen.model_dump()}, SHA-256 {chosen.digest()[:16]}"


def _weights(facts: Facts) -> Answer:
    weights = facts.run.environment.get("weights_sha256")
    if not weights:
        return "UNKNOWN", "the training is not finished"
    kind = facts.run.recipe.network
    return "PASS", f"{kind.name}, {facts.run.recipe.architecture}, from freshly drawn weights; SHA-256 {weights[:16]}"


def _budget(facts: Facts) -> Answer:
    looks = max(facts.looks, 1 if facts.metrics else 0)  # older evaluations did not count themselves
    times = "once" if looks == 1 else f"{looks} times"
    seed = f"seed {facts.run.recipe.training.seed}; this run's test images were evaluated {times}"
    if (facts.run.path.parent.parent / "sweep.json").exists():
        return "PASS", f"{seed}; chosen in a sweep by validation ({facts.run.path.parent.parent.name}/sweep.json)"
    return "UNKNOWN", f"{seed}; what was tried before this run, nobody wrote down"


def _size(facts: Facts) -> Answer:
    found = facts.metrics.get("detectable")
    if not found:
        return NOT_EVALUATED
    smallest = ", ".join(
        f"{percent(found[unit])} (counting {unit})" for unit in ("images", "patients") if found.get(unit) is not None
    )
    who = f"{facts.metrics['n_images']} images"
    who += f" of {facts.metrics['n_patients']} patients" if facts.metrics["n_patients"] else ""
    told = f"smallest significant difference at {percent(found['discordance'])} discordance: {smallest or 'none'}"
    return "PASS", f"{who}; {told}"


def _confusion(facts: Facts) -> Answer:
    return ("PASS", f"rows truth: {facts.metrics['confusion']}") if facts.metrics else NOT_EVALUATED


def _recall(facts: Facts) -> Answer:
    return _by_label(facts, ("recall", "precision"), percent, percent_range)


def _area(facts: Facts) -> Answer:
    return _by_label(facts, ("auroc",), fraction, fraction_range)


def _by_label(facts: Facts, names: Sequence[str], show: Callable[..., str], show_range: Callable[..., str]) -> Answer:
    if not facts.metrics:
        return NOT_EVALUATED
    told = "; ".join(
        f"{name} {label} {show(entry['value'])} ({show_range(entry)})"
        for name in names
        for label, entry in facts.metrics[name].items()
    )
    if facts.metrics["unit"] == "images":
        who = in_words(facts.metrics.get("with_patient", 0), facts.metrics["n_images"])
        return "UNKNOWN", f"{who}, so that the intervals are optimistic: {told}"
    return "PASS", told


def _predictive(facts: Facts) -> Answer:
    found = facts.metrics.get("predictive_values")
    if not found:
        return ("UNKNOWN", "no protected label, or only one side of it") if facts.metrics else NOT_EVALUATED
    told = [f"at {percent(at['prevalence'])}: PPV {percent(at['ppv']['value'])}, NPV {percent(at['npv']['value'])}"
            for at in found["at"]]  # fmt: skip
    return "PASS", f"{found['label']}, {'; '.join(told)}"


def _calibration(facts: Facts) -> Answer:
    if not facts.metrics:
        return NOT_EVALUATED
    ece = facts.metrics["ece"]
    error, floor = ece["value"], ece["noise_floor"]
    high = ece.get("noise_high", TOLERATED * floor)
    told = f"class-wise error {percent(error)} beside a noise floor of {percent(floor)}"
    state: State = "PASS" if error <= high else "FAIL"
    return state, f"{told}; 95 % of perfectly calibrated models stay below {percent(high)}"


def _operating_point(facts: Facts) -> Answer:
    held, certificate = facts.metrics.get("operating_point"), facts.metrics.get("certificate")
    if certificate and not held:
        return (
            "FAIL",
            f"{certified_sentence(certificate)}; but that was chosen on the test patients themselves",
        )
    if not held or not certificate:
        return "UNKNOWN", "no certificate in force: hilum certify RUN --miss-rate 0.05, then hilum evaluate RUN"
    shift = held["exchangeability"]
    told = [certified_sentence(certificate), f"on the test patients: {holding_sentence(held)}"]
    told += [exchangeability_sentence(shift)] if shift else []
    void = held["verdict"] == "broken" or (shift and shift["p_value"] < DIFFER)
    state: State = "FAIL" if void else "UNKNOWN" if held["verdict"] is None else "PASS"
    return state, "; ".join(told)


def _subgroups(facts: Facts) -> Answer:
    found = facts.metrics.get("subgroups")
    if not found:
        return "UNKNOWN", "the table has no column of a few values (source, view, sex, age ...) to form subgroups by"
    return "PASS", "by " + ", ".join(f"{name} ({len(values)})" for name, values in found.items())


def _external(facts: Facts) -> Answer:
    if not facts.external:
        return "FAIL", "external validation: NONE"
    drops = {name: metrics.get("drop") for name, metrics in facts.external.items()}
    told = "; ".join(f"{name}: {drop_sentence(found) if found else 'measured'}" for name, found in drops.items())
    highs = [found["accuracy"]["difference"]["high"] for found in drops.values() if found]
    return ("FAIL" if any(high is not None and high < 0 for high in highs) else "PASS"), told


def _abstention(facts: Facts) -> Answer:
    found = facts.metrics.get("abstention")
    if not found:
        return ("UNKNOWN", facts.metrics.get("abstention_note") or "not measured") if facts.metrics else NOT_EVALUATED
    told = "; ".join(abstention_sentences(found))
    told += "".join(
        f"; {name}: {abstention_sentences(m['abstention'])[0]}"
        for name, m in facts.external.items()
        if m.get("abstention")
    )
    state: State = "FAIL" if found["abstained"]["low"] > found["level"] else "PASS"
    return state, f"stated rate of false abstentions {percent(found['level'])}; {told}"


def _gallery(facts: Facts) -> Answer:
    if facts.errors_shown is None:
        return NOT_EVALUATED
    return "PASS", f"{facts.errors_shown} wrongly answered images are shown"


def _hashes(facts: Facts) -> Answer:
    environment = facts.run.environment
    have = {
        "code": environment.get("code_sha256"),
        "data": environment.get("data", {}).get("digest"),
        "environment": environment.get("packages_sha256"),
        "weights": environment.get("weights_sha256"),
    }
    told = ", ".join(f"{name} {value[:16]}" for name, value in have.items() if value)
    versions = f"Python {environment.get('python', '?')}, PyTorch {environment.get('torch', '?')}"
    missing = [name for name, value in have.items() if not value]
    return ("UNKNOWN" if missing else "PASS"), "; ".join(
        [told, versions, *([f"no hash of {', '.join(missing)}"] if missing else [])]
    )


def _on_both_sides(pairs: set[tuple[str, str]]) -> int:
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for who, side in pairs:
        sides[who].add(side)
    return sum(len(found) > 1 for found in sides.values())


ITEMS: tuple[tuple[str, Callable[[Facts], Answer]], ...] = (
    ("intended use and non-uses", _use),
    ("source, dates, site, licence", lambda facts: _columns(facts, "source", "date", "site", "licence")),
    ("age, sex and view by class", lambda facts: _columns(facts, "age", "sex", "view", by_label=True)),
    ("how labels were made", lambda facts: _columns(facts, "label_source")),
    ("whether labels are possible in time", _possible),
    ("inclusions and exclusions with counts", _counts),
    ("split unit and overlap", _unit),
    ("duplicates", _duplicates),
    ("source by label", _sources),
    ("shortcut probes", _shortcuts),
    ("preprocessing and its hash", _preprocessing),
    ("model and provenance of weights", _weights),
    ("seeds, tuning budget, looks at the test set", _budget),
    ("sample size and detectable difference", _size),
    ("confusion counts", _confusion),
    ("recall and precision with intervals", _recall),
    ("AUROC with interval", _area),
    ("predictive values at other prevalences", _predictive),
    ("calibration with its noise floor", _calibration),
    ("operating point with its certificate", _operating_point),
    ("subgroups", _subgroups),
    ("external validation", _external),
    ("abstention", _abstention),
    ("gallery of errors", _gallery),
    ("hashes of code, data and environment", _hashes),
)
