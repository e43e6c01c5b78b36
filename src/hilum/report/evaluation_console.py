"""An evaluation on the console: alarms first, then tables by label, then one sentence for each result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.auditing.findings import KnownIssues, said_briefly
from hilum.data.labels import last_component
from hilum.data.patients import in_words
from hilum.evaluation.certificate_check import verdict_of
from hilum.evaluation.decision_curve import harm_sentence
from hilum.evaluation.differences import drop_sentence
from hilum.evaluation.schema import Metrics, Property, Reliance, Shortcuts
from hilum.evaluation.shortcut_baselines import gate_sentence, lead_rows
from hilum.evaluation.subgroups import subgroup_lines
from hilum.evaluation.triage_schema import Abstention
from hilum.report.certificate_text import (
    certified_sentence,
    cost_sentence,
    exchangeability_sentence,
    holding_sentence,
    ledger_sentence,
    sensitivity_sentence,
)
from hilum.report.prior_text import prior_sentence
from hilum.stats.calibration import applied
from hilum.stats.calibration_slope import calibration_sentences
from hilum.stats.exchangeability import DIFFER
from hilum.stats.metrics import BY_LABEL
from hilum.stats.records import ProbabilityScores
from hilum.stats.verdicts import REFUTED, SHOWN
from hilum.text import cell_text, escape, fraction, interval_text, measured, percent, percent_range, result_matrix

LEVEL = 0.05
NOTABLE = 0.05  # share of the margin below which reliance, though shown, is left to the table
RULING_OUT, RULING_IN = ("recall", "specificity", "auroc"), ("precision", "npv", "f1", "auprc")
WITHOUT = ("centre blacked out", "lungs blacked out")


def relied_on(reliance: Reliance) -> Iterator[tuple[str, Property]]:
    """Labels and exchanged properties on which the model is shown to rely for at least 5 % of the margin.

    Shown means that the corrected p-value is below 5 % and that the interval of the change lies above zero.

    Args:
        reliance: What `hilum.evaluation.reliance.measure_reliance` found.
    """
    for label, entry in _properties(reliance):
        shown = entry.p_corrected is not None and entry.p_corrected < LEVEL and (entry.log_odds.low or 0) > 0
        if entry.kind == "swap" and shown and (not _certain(entry) or (entry.share.value or 0) >= NOTABLE):
            yield label, entry


def _properties(reliance: Reliance) -> Iterator[tuple[str, Property]]:
    for label, part in reliance.labels.items():
        for entry in part.found:
            yield label, entry


def reliance_sentence(reliance: Reliance) -> str:
    """On which shortcuts the model is shown to rely; if on none, how much of the margin could rest on one.

    Args:
        reliance: What `hilum.evaluation.reliance.measure_reliance` found.
    """
    if reliance.note:
        return f"reliance on shortcuts: not measured: {reliance.note}"
    shown: dict[str, list[str]] = defaultdict(list)
    for label, entry in relied_on(reliance):
        share = (
            f"{interval_text(entry.share, digits=0)} of the margin of {label}"
            if _certain(entry)
            else f"{label}, which has no margin"
        )
        shown[entry.name].append(share)
    if shown:
        told = "RELIES ON A SHORTCUT: " + "; ".join(f"{name}: {', '.join(of)}" for name, of in shown.items())
    else:
        told = f"reliance on shortcuts: none shown{_largest(reliance)}"
    return "; ".join([told, *filter(None, (_left(reliance, name) for name in WITHOUT))])


def _left(reliance: Reliance, name: str) -> str:
    """What is left of the margins with a part blacked out, where that is shown to be more than nothing."""
    left = [
        f"{interval_text(entry.share, digits=0)} of the margin of {label}"
        for label, entry in _properties(reliance)
        if entry.name == name and _certain(entry) and (entry.share.low or 0) > 0
    ]
    return f"with the {name} {', '.join(left)} is left" if left else ""


def _largest(reliance: Reliance) -> str:
    limits = [
        (entry.share.high, label, entry.name)
        for label, entry in _properties(reliance)
        if entry.kind == "swap" and entry.share.high is not None
    ]
    if not limits:
        return ", and no margin between the labels either"
    high, label, name = max(limits)
    return f"; at most {100 * max(0.0, high):.0f} % of the margin of {label} may rest on one ({name})"


def _certain(entry: Property) -> bool:
    return entry.share.high is not None


def alarms_of(metrics: Metrics) -> list[str]:
    """Sentences that forbid to take the figures at their word; none where nothing does.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    found = one_label_sentence(metrics)
    gate = metrics.shortcuts
    if gate and gate.verdict not in (SHOWN, None):
        found.append(gate_sentence(gate))
    if harm := harm_sentence(metrics.decision_curve):
        found.append(harm)
    reliance = metrics.reliance
    if reliance and any(relied_on(reliance)):
        found.append(reliance_sentence(reliance))
    held = metrics.operating_point
    if held and verdict_of(held) == REFUTED:
        found.append(holding_sentence(held))
    if held and held.exchangeability and held.exchangeability.p_value < DIFFER:
        found.append(exchangeability_sentence(held.exchangeability))
    return found


def one_label_sentence(metrics: Metrics) -> list[str]:
    """A warning where a classifier of several labels predicts one for all images; else nothing.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    predicted = [sum(row[j] for row in metrics.confusion) for j in range(len(metrics.labels))]
    if max(predicted, default=0) < metrics.n_images or sum(any(row) for row in metrics.confusion) < 2:
        return []
    label = metrics.labels[predicted.index(max(predicted))]
    areas = ", ".join(
        f"{name} {interval_text(area, as_percent=False)}"
        for name, area in metrics.auroc.items()
        if metrics.positive_label in (None, name)
    )
    return [
        f"PREDICTS ONE LABEL: '{label}' for all {metrics.n_images:,} images; AUROC of {areas}. Train longer "
        "(training.epochs), or change the learning rate (training.lr)"
    ]


def leads_table(gate: Shortcuts | None) -> list[Table]:
    """For each label the nearest probe and all probes together; nothing where nothing was compared."""
    rows = list(lead_rows(gate)) if gate else []
    if not rows:
        return []
    title = "AUROC against shortcut baselines, with 95 % CI"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for name in ("", "baseline"):
        table.add_column(name, overflow="fold")
    for name in ("model", "baseline", "lead"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lead > 0", no_wrap=True)
    before = ""
    for label, found, entry, verdict in rows:
        table.add_row(
            "" if label == before else escape(last_component(label)),
            escape(entry.name),
            escape(fraction(found.model.value)),
            escape(fraction(entry.auroc.value)),
            escape(cell_text(entry.difference, as_percent=False, sign=True)),
            verdict if verdict == SHOWN else f"[bold red]{verdict}[/]",
        )
        before = label
    return [table]


def result_table(metrics: Metrics) -> RenderableType:
    """The result matrix, then recall, precision and AUROC by label, then what they come to.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    unit = (
        f"{metrics.n_patients} patients" if metrics.n_patients else optimistic(metrics.with_patient, metrics.n_images)
    )
    heading = f"[bold]{escape(metrics.name)}[/]: {metrics.n_images:d} images, {escape(unit)}"
    tables = (_matrix(metrics), *_by_label(metrics), *leads_table(metrics.shortcuts))
    alarms = alarms_of(metrics)
    first = [f"[bold red]{escape(alarm)}[/]" for alarm in alarms]
    return Group("", heading, *data_errors(metrics.audit), *first, *tables, *_sentences(metrics, alarms), "")


def data_errors(audit: KnownIssues | None) -> list[str]:
    """Errors about the data of a training, before any figure.

    Args:
        audit: As `hilum.training.prepare.known_of` gives it.
    """
    found = audit.findings if audit else []
    return [f"[bold red]training data:[/] {escape(line)}" for line in said_briefly(found)]


def optimistic(known: int, images: int) -> str:
    """What is said of intervals where not every image's patient is known.

    Args:
        known: Number of images whose patient is known.
        images: Number of images.
    """
    return f"{in_words(known, images)}: optimistic intervals"


def _matrix(metrics: Metrics) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="confusion matrix: rows truth, columns predicted", title_justify="left")
    table.add_column("", overflow="fold")
    for label in metrics.labels:
        table.add_column(escape(label), justify="right", overflow="fold")
    for row in result_matrix(metrics.labels, metrics.confusion).rows:
        counts = (f"[bold green]{cell.count:d}[/]" if cell.right else str(cell.count) for cell in row.cells)
        table.add_row(escape(row.label), *counts)
    return table


def _by_label(metrics: Metrics) -> Iterator[Table]:
    """Each measure by label with its interval below it: several tables, as 80 columns hold no more than four."""
    further = tuple(measure.key for measure in BY_LABEL if measure.key not in {*RULING_OUT, *RULING_IN})
    for keys in filter(None, (RULING_OUT, RULING_IN, further)):
        shown = [measure for measure in BY_LABEL if measure.key in keys and metrics.by_label(measure.key)]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="with 95 % CI", title_justify="left")
        table.add_column("", overflow="fold")
        for measure in shown:
            table.add_column(measure.title.replace(" (", "\n("), justify="right", no_wrap=True)
        for label in metrics.labels:
            name = escape(label) + (" [yellow]*[/]" if label == metrics.positive_label else "")
            cells = (measured(metrics.by_label(measure.key)[label], as_percent=measure.as_percent) for measure in shown)
            table.add_row(name, *(f"{value}\n[dim]{limits.removesuffix(' %')}[/]" for value, limits in cells))
        yield table


def _sentences(metrics: Metrics, alarms: Sequence[str]) -> list[str]:
    accuracy, balanced = map(interval_text, (metrics.accuracy, metrics.balanced_accuracy))
    lines = [f"accuracy [bold]{accuracy}[/], balanced {balanced}"]
    labels, positive_label = metrics.labels, metrics.positive_label
    if positive_label and positive_label in labels:
        row = metrics.confusion[labels.index(positive_label)]
        missed = sum(row) - row[labels.index(positive_label)]
        lines.append(f"[yellow]*[/] positive label; false negatives: {missed} of {sum(row)}")
    lines += [escape(sentence) for sentence in decision_sentences(metrics)]
    lines.append(f"log-loss {metrics.log_loss:.3f}, Brier {metrics.brier:.3f}, {_errors(metrics)}")
    calibration = metrics.calibration
    if calibration and calibration.temperatures and applied(calibration.temperatures):
        before = calibration.before
        shown = ", ".join(f"{value:.2f}" for value in calibration.temperatures.values())
        lines.append(
            f"calibrated with temperature {shown}; uncalibrated: log-loss {before.log_loss:.3f}, {_errors(before)}"
        )
    elif calibration and calibration.note:
        lines.append(escape(calibration.note))
    if calibration and (adjusted := prior_sentence(calibration.prior_step)):
        lines.append(escape(adjusted))
    lines += [escape(sentence) for sentence in calibration_sentences(metrics.calibration_by_label)]
    lines += [escape(sentence) for sentence in decision_lines(metrics) if not sentence.endswith(tuple(alarms))]
    lines += [escape(line) for line in subgroup_lines(metrics.subgroups, metrics.positive_label)]
    return lines


def _errors(scores: ProbabilityScores) -> str:
    told = []
    for name, ece in scores.errors().items():
        seldom = f", 95 % below {high:.3f}" if (high := ece.ece_null_q95) else ""
        told.append(f"{name} ECE {ece.value:.3f} (calibrated: {ece.ece_null_mean:.3f}{seldom})")
    return ", ".join(told)


def decision_lines(metrics: Metrics) -> list[str]:
    """How the certificate holds here, and what abstention does; none where there is neither."""
    lines = []
    if (held := metrics.operating_point) and (certificate := metrics.certificate):
        told = [certified_sentence(certificate), ledger_sentence(certificate)]
        lines += [f"certificate: {sentence}" for sentence in told if sentence]
        more = [
            holding_sentence(held),
            sensitivity_sentence(held),
            cost_sentence(held, metrics.healthy, certificate),
        ]
        lines += [f"here: {sentence}" for sentence in more if sentence]
        if held.exchangeability:
            lines.append("here: " + exchangeability_sentence(held.exchangeability))
    if harm := harm_sentence(metrics.decision_curve):
        lines.append(harm)
    if abstained := metrics.abstention:
        lines += abstention_sentences(abstained, flagged_labels(metrics))
    if found := metrics.performance_drop:
        lines.append(drop_sentence(found))
    if gate := metrics.shortcuts:
        lines.append(gate_sentence(gate))
    if reliance := metrics.reliance:
        lines.append(reliance_sentence(reliance))
    return lines


def flagged_labels(metrics: Metrics) -> str:
    """Of what the rule in force is to miss nothing, in words."""
    if metrics.certificate:
        return metrics.certificate.group
    return metrics.positive_label or "labels that are not healthy"


def abstention_sentences(abstained: Abstention, flagged: str) -> list[str]:
    """How many images are handed to a human, why, and what that makes of the recall of `flagged`."""
    reasons = ", ".join(f"{percent(share.value)} {reason}" for reason, share in abstained.reasons.items())
    told = [f"abstains on {interval_text(abstained.abstained)} of images: {reasons}"]
    if found := abstained.by_patient:
        by_images = [f"{name}: {percent(part.value)}" for name, part in found.by_images.items()]
        told.append(
            f"patients with at least one such image {interval_text(found.any_image)} (by number of images: "
            f"{', '.join(by_images)}); one image of each patient {interval_text(found.one_image)}"
        )
    seen = abstained.of_calibration
    if rate := abstained.rate:
        told.append(
            "stated rate, for one image of a patient like the calibration patients: at most "
            f"{100 * abstained.level:g} % "
            f"on average over calibration sets; with {abstained.n_calibration} patients from "
            f"{percent_range(rate)} in 90 % of them"
            + (f"; of these {interval_text(seen.any_image)} had at least one such image" if seen else "")
        )
    recall = abstained.recall
    if recall.recall_abstentions_negative.value is not None:
        told.append(
            f"recall of {flagged} by the rule in force (certified threshold, else argmax), counting "
            "abstentions as negative "
            f"{interval_text(recall.recall_abstentions_negative)}, as positive "
            f"{interval_text(recall.recall_abstentions_positive)}"
        )
    return told


def decision_sentences(metrics: Metrics) -> list[str]:
    """Each decision of the label tree by itself, such as normal against infected; none for labels without nesting."""
    lines = []
    for name, areas in metrics.decisions.items():
        one, *others = areas
        against = " or ".join(map(last_component, others))
        among = f", among {name}" if name else ""
        lines.append(
            f"{last_component(one)} against {against}{among}: AUROC {interval_text(areas[one], as_percent=False)}"
        )
    return lines
