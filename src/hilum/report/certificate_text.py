"""A certificate on the terminal, and in sentences that a report can use, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.data.labels import is_healthy
from hilum.evaluation.attempts import attempts_of, models_on
from hilum.evaluation.ledger import Access, Granted, ImageSet, Ledger, OnImages, Refusal, Result, Void, place_of
from hilum.evaluation.spending import joint_confidence
from hilum.evaluation.triage_schema import Certificate, CertificateCheck, Flagged, Upper, UpperClaim
from hilum.stats.exchangeability import shift_sentence
from hilum.stats.intervals import share
from hilum.stats.records import Exchangeability
from hilum.stats.verdicts import at_most
from hilum.text import cell_text, escape, interval_text, percent


def certificate_lines(facts: Certificate) -> RenderableType:
    """What is certified, what it costs, and under which conditions.

    Args:
        facts: What ``certificate.json`` holds.
    """
    lines: list[RenderableType] = [
        f"[bold]{escape(certified_sentence(facts))}[/]",
        *map(escape, [counted_sentence(facts), *unit_sentences(facts)]),
        *map(escape, filter(None, [ledger_sentence(facts)])),
        _costs(facts),
    ]
    lines += [f"[yellow]{escape(note)}[/]" for note in facts.notes]
    if facts.exchangeability:
        lines.append(escape(exchangeability_sentence(facts.exchangeability)))
    return Group("", *lines, *(f"[dim]- {escape(sentence)}[/]" for sentence in facts.conditions), "")


def _costs(facts: Certificate) -> Table:
    """Who is flagged, and where there are two thresholds who is to be read, by label."""
    table = Table(box=box.SIMPLE_HEAD, title="flagged, by label", title_justify="left")
    two = facts.upper_threshold is not None
    for name in ("", "patients", "flagged", "% (95 % CI)", *(["to be read", "% (95 % CI) "] if two else [])):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for label, cost in facts.flagged.items():
        cells = [escape(label), str(cost.patients), str(cost.flagged), cell_text(cost)]
        table.add_row(*cells, *(_read(facts.outcomes.others[label]) if two and facts.outcomes else []))
    if two and facts.outcomes:
        counts, total = facts.outcomes.group, facts.n_patients
        flagged = cell_text(share(counts["flag"], total))
        table.add_row(escape(facts.group), str(total), str(counts["flag"]), flagged, *_read(counts))
    return table


def _read(counts: Mapping[str, int]) -> list[str]:
    return [str(counts["read"]), cell_text(share(counts["read"], sum(counts.values())))]


def certified_sentence(facts: Certificate) -> str:
    """The certificate in one sentence."""
    who = "patients" if facts.resampling_unit == "patients" else "images (patients are not all known)"
    told = (
        f"With {100 * facts.confidence:g} % confidence, at most {100 * facts.false_negative_rate:g} % of {who} "
        f"with "
        f"{facts.group} are cleared; a probability of it below {facts.threshold:.4g} clears"
    )
    upper = facts.upper
    return f"{told}. Together with that, {_upper_words(upper)}" if upper else told


def _upper_words(upper: Upper) -> str:
    bound = f"{100 * upper.bound:g} %"
    if upper.kind == "ppv":
        what = f"at least {bound} of those flagged have it at a prevalence of {100 * (upper.prevalence or 0):g} %"
    else:
        what = f"at most {100 - 100 * upper.bound:g} % of healthy patients ({', '.join(upper.labels)}) are flagged"
    if upper.threshold > 1:
        return f"{what}: so nobody is flagged: some of them have the highest score"
    return f"{what}; a probability of at least {upper.threshold:.4g} flags"


def counted_sentence(facts: Certificate) -> str:
    """On whom it rests."""
    unit, missed = facts.resampling_unit, facts.false_negatives
    source = facts.data.name if facts.data.own else f"the other data {facts.data.name}"
    told = (
        f"counted on {facts.n_patients} {unit} with it ({source}), all unseen by the run; "
        f"{missed} of them {'is' if missed == 1 else 'are'} cleared"
    )
    if upper := facts.upper:
        told += f"; and on {upper.n_patients} {unit} without it. Each guarantee holds with {100 * upper.confidence:g} %"
        told += " confidence, both together with the stated one"
        if upper.raised and upper.kind == "specificity":
            told += ". The upper threshold was raised to the lower one: no score lies between the thresholds"
    return told


def unit_sentences(facts: Certificate) -> list[str]:
    """Of what the guarantee speaks: a patient by all images, or one image; empty of certificates of versions before."""
    images = facts.images
    if not images or facts.resampling_unit != "patients":
        return []
    if images.max <= 1:
        return ["unit: the patient, with one image; for a study of several the largest score counts"]
    shown = ", ".join(f"{size}: {count}" for size, count in list(images.distribution.items())[:8])
    more = ", ..." if len(images.distribution) > 8 else ""
    return [
        f"unit: the patient, by the largest score of all images ({images.mean:.1f} on average, {images.max} at "
        f"most; patients by number of images {shown}{more}): as hilum predict --study",
        f"a single image has a separate threshold, {facts.image_threshold:.4g}, by the same rule on one image per "
        f"patient: of these {facts.one_image_below} of {facts.n_patients} lie "
        "below the patients' threshold. Each of the two holds separately with the stated confidence",
    ]


def ledger_sentence(facts: Certificate) -> str:
    """Which attempt on these patients it is, and where that is recorded; empty for certificates of before."""
    found = facts.ledger
    if not found:
        return ""
    told = f"attempt {found.number} of {found.planned} planned on these patients"
    if found.planned > 1 or found.spent_before:
        told += f", certified separately at {100 - 100 * found.delta:.4g} %"
    if found.spent_before:
        told += (
            f"; {100 * facts.confidence:.4g} % is the confidence of it and of the certificates made on them before, "
            "together"
        )
    return f"{told}; recorded in the ledger {found.path}"


def cost_sentence(
    facts: CertificateCheck, known: Sequence[str] | None = None, certificate: Certificate | None = None
) -> str:
    """How many healthy patients are flagged; empty where no label is known to be healthy.

    Args:
        facts: How a certificate holds.
        known: The healthy labels; None where only their names tell.
        certificate: The certificate, whose own patients are set beside these.
    """
    flagged = facts.flagged.items()
    healthy = {label: cost for label, cost in flagged if (is_healthy(label) if known is None else label in known)}
    if not healthy:
        return "no healthy patient: false positives are unknown" if not facts.flagged else ""
    label, cost = next(iter(healthy.items()))
    if counts := facts.others.get(label):  # patients who are abstained on are not flagged
        total = sum(counts.values())
        cost = Flagged.model_validate(
            {"flagged": counts["flag"], "patients": total, **share(counts["flag"], total).given()}
        )
    foretold = certificate.flagged.get(label) if certificate else None
    beside = f"; on the certificate's own patients {percent(foretold.value)}" if foretold else ""
    return (
        f"{cost.flagged} of {cost.patients} {facts.resampling_unit} of '{label}' are flagged, too: "
        f"{interval_text(cost)}{beside}"
    )


def exchangeability_sentence(found: Exchangeability) -> str:
    """Whether other patients look like those of the reference certificate."""
    return shift_sentence(found)


def holding_sentence(held: CertificateCheck) -> str:
    """How a certificate holds on patients that were evaluated."""
    if not held.patients:
        return "not shown: no patient with it"
    bound = f"at most {100 * held.bound:g} %"
    told = f"{held.cleared} of {held.patients} {held.resampling_unit} with {held.group} cleared, {interval_text(held)}"
    told += f": {at_most(held.low, held.high, held.bound).upper()} to be {bound}"
    if needed := held.patients_to_decide:
        told += f" (at this share, {needed:,} {held.resampling_unit} would decide)"
    if referred := held.outcomes["abstain"] + held.outcomes["read"]:
        told += f"; {referred} referred to a person, {held.outcomes['flag']} flagged"
        if held.below.count > held.cleared:
            told += f"; without abstention {held.below.count} would be cleared ({held.below.verdict.upper()})"
    return f"{told}. {_upper_holding(upper, held.resampling_unit)}" if (upper := held.upper) else told


def _upper_holding(upper: UpperClaim, unit: str) -> str:
    """How the upper side of a certificate holds."""
    if upper.kind == "specificity":
        what = f"{upper.count} of {upper.total} healthy {unit} flagged, {interval_text(upper)}"
        bound = f"at most {100 * upper.bound:g} %"
    else:
        what = f"PPV at a prevalence of {100 * (upper.prevalence or 0):g} % {interval_text(upper)}"
        bound = f"at least {100 * upper.bound:g} %"
    return f"{what}: {upper.verdict.upper()} to be {bound}"


def sensitivity_sentence(held: CertificateCheck) -> str:
    """Sensitivity with referrals counted in three ways; empty where nobody was referred."""
    found = held.sensitivity
    if not held.outcomes["abstain"] + held.outcomes["read"]:
        return ""
    counted = found.recall_abstentions_positive, found.recall_abstentions_negative, found.selective_recall
    positive, negative, excluded = map(interval_text, counted)
    said = f"as positive {positive}, as negative {negative}, excluded {excluded}"
    return f"sensitivity by patient, counting referrals {said}"


def ledger_lines(ledger: Ledger, images: ImageSet | None = None) -> RenderableType:
    """One row an attempt, refusal or access, and what is left for each set of patients.

    Args:
        ledger: As it was read.
        images: Only what is about some of these images; None for all.
    """
    shown = [e for e in ledger.of(OnImages) if images is None or ledger.images(e.images) & images]
    where = f"ledger {escape(place_of(ledger.file))}: {len(ledger.entries)} entries"
    if not shown:
        return Group("", where, "no certification attempt and no access is recorded here", "")
    results = {entry.attempt: entry for entry in ledger.of(Result)}
    void = {entry.entry for entry in ledger.of(Void)}
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("entry", "time (UTC)", "data", "images", "model", "what"):
        table.add_column(name, justify="right" if name in ("entry", "images") else "left", overflow="fold")
    for entry in shown:
        told = _what(entry, results, given_back=entry.n in void)
        count = len(ledger.images(entry.images))
        cells = (str(entry.n), entry.time[:16].replace("T", " "), entry.data, f"{count:,}", entry.model[:8])
        table.add_row(*map(escape, cells), escape(told))
    return Group("", where, table, *map(escape, _left(ledger, shown)), "")


def _what(entry: OnImages, results: Mapping[str, Result], *, given_back: bool) -> str:
    if isinstance(entry, Access):
        return f"evaluated, {entry.split}"
    assert isinstance(entry, Granted | Refusal)
    claim = f"{entry.group}, sensitivity {100 - 100 * entry.false_negative_rate:g} %"
    claim += f", {entry.form}" if entry.form != "float" else ""
    if isinstance(entry, Refusal):
        return f"refused: {claim}"
    told = f"certify {claim}: {entry.number} of {entry.planned} at {100 * entry.confidence:.4g} %"
    if given_back:
        return f"{told}, given back"
    found = results.get(entry.attempt)
    return f"{told}, threshold {found.threshold:.4g}" if found else f"{told}, no certificate"


def _left(ledger: Ledger, shown: Sequence[OnImages]) -> list[str]:
    """For each set of images: the confidence of all certificates together, places that are left, models that saw it."""
    made, lines = attempts_of(ledger), []
    for digest, name in {entry.images: entry.data for entry in shown}.items():
        images = ledger.images(digest)
        here = [attempt for attempt in made if attempt.images & images]
        models = len(models_on(ledger, images))
        told = f"{name}, {len(images):,} images ({digest[:8]}): {models} model{'' if models == 1 else 's'}"
        for plan in dict.fromkeys(attempt.plan for attempt in here):
            of_plan = [attempt for attempt in made if attempt.plan == plan]
            stated, planned = 100 * of_plan[0].confidence, of_plan[0].planned
            told += f"; plan at {stated:.4g} %: {len(of_plan)} of {planned} attempts made"
        if here:
            told += f"; all certificates hold jointly with {100 * joint_confidence(made, images):.4g} %"
        lines.append(told)
    return lines
