"""The model card: what a model was made of, how good it was found to be, and what it must not be used for.

By the conventions of the Hugging Face hub (Mitchell et al. 2019). A run's card is written beside its report, from what
the run's files hold; a model file's card lies in the file, from its metadata. Both say the same of the same in the same
words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from hilum.auditing.findings import Statement, said_briefly
from hilum.evaluation.findings_schema import FindingsCertificate, FindingsMetrics
from hilum.evaluation.schema import Metrics
from hilum.evaluation.shortcut_baselines import lead_rows
from hilum.evaluation.temperature import Calibration
from hilum.evaluation.triage_schema import Certificate
from hilum.files import save_text
from hilum.report.certificate_text import certified_sentence, unit_sentences
from hilum.report.checklist import INTENDED, NOT_INTENDED, Item, tally
from hilum.report.checklist_data import Facts
from hilum.report.evaluation_console import decision_lines
from hilum.report.findings_card import external_findings_lines, findings_lines
from hilum.report.findings_console import family_sentence
from hilum.report.front_matter import run_front_matter
from hilum.report.member_text import began_with, made_by
from hilum.report.prior_text import prior_sentence
from hilum.report.results import COLUMNS, heading, verdict
from hilum.stats.calibration import ECE, applied
from hilum.stats.metrics import ByLabel
from hilum.stats.records import Record
from hilum.text import cell_text, code_span, fraction, interval_text, markdown, measured
from hilum.training.environment import EnsembleMember, InitialWeights
from hilum.training.plan import EncoderChoice
from hilum.training.prepare import known_of
from hilum.training.recipe import Recipe

FILE = "model_card.md"
MEASURES = (  # what a model file keeps of its results
    "accuracy",
    "balanced_accuracy",
    "recall",
    "precision",
    "specificity",
    "npv",
    "f1",
    "auroc",
    "log_loss",
    "brier",
    "ece",
    *ECE,
)
MARKS = {"PASS": "pass", "FAIL": "FAIL", "REPORTED": "reported", "UNKNOWN": "unknown"}
SPLITS = ("train", "val", "calibration", "test", "unused")
LIMITS = (
    "For research and teaching. **Not for diagnosis.** A probability is valid for images like the training images; it "
    "may be invalid for other ages, scanners, countries or diseases. A disease outside the labels is assigned to one "
    "of them."
)


class CardData(Record):
    """The training data of a model file: `counts` are images by split and label, `name` is the folder's alone."""

    name: str
    digest: str
    counts: dict[str, dict[str, int]]
    patients_known: bool
    findings: list[Statement]
    notes: list[str]


class Versions(Record):
    """By what a network was trained or exported."""

    hilum: str
    torch: str
    python: str = ""
    precision: str = ""


class Provenance(Record):
    """Where a model file comes from."""

    weights_sha256: str
    trained_with: Versions
    trained_on: str
    exported_with: Versions
    data: CardData
    parameters: int
    initial: InitialWeights | None = None
    members: list[EnsembleMember] = Field(default_factory=list)


class TwoForms(Record):
    """A measure of the network in float and in 8 bits."""

    in_float: float = Field(alias="float")
    int8: float


class QuantisationLoss(Record):
    """How far the two forms of a network are apart on images of `split`.

    Attributes:
        n_patients: None where these are not all known.
        mean_difference: Of a probability.
        largest_difference: Of a probability.
        changed: Share of images with another most probable label.
    """

    split: str
    n_images: int
    n_patients: int | None
    mean_difference: float
    largest_difference: float
    changed: float
    accuracy: TwoForms
    log_loss: TwoForms


class RangesFrom(Record):
    """The images by which ranges were chosen."""

    split: str
    n_images: int


class Sizes(Record):
    """Bytes of the graph in float and in 8 bits."""

    in_float: int = Field(alias="float")
    int8: int
    ratio: float


class Quantisation(Record):
    """What a model file says of its 8 bits: how, what they cost, and what still holds of certificate and abstention."""

    method: str
    ranges_from: RangesFrom
    loss: QuantisationLoss
    bytes: Sizes
    certificate: str
    abstention: str


@dataclass(frozen=True)
class FileFacts:
    """What the card of a model file is made of; `results` are of test images, None where nothing was measured."""

    name: str
    labels: Sequence[str]
    label_name: Mapping[str, str]
    positive_label: str | None
    results: Metrics | None
    certificate: Certificate | None
    int8: Quantisation | None
    provenance: Provenance
    recipe: Recipe
    calibration: Calibration
    licence: str
    findings: FindingsMetrics | None = None
    certificates: FindingsCertificate | None = None


def write_model_card(file: Path, facts: Facts, items: Sequence[Item]) -> Path:
    """Write a run's card; the same facts give the same bytes."""
    save_text(file, run_card(facts, items))
    return file


def run_card(facts: Facts, items: Sequence[Item]) -> str:
    """A run's card as Markdown with a YAML header.

    Args:
        facts: As for the checklist.
        items: The checklist.
    """
    run = facts.run
    environment, recipe = run.environment, run.recipe
    counts: dict[str, dict[str, int]] = {}
    for row in facts.split:
        part = counts.setdefault(row.split, {})
        part[row.label] = part.get(row.label, 0) + 1
    sections = [
        f"# {markdown(run.name)}",
        f"{LIMITS} {INTENDED} {NOT_INTENDED}",
        "## Labels",
        _labels(run.labels, {}, run.positive_label),
        "## Training data",
        _data(environment.data.notes, counts, run.labels, known_of(run).findings),
        "## Results",
        *(_evaluated(facts) or ["Not evaluated yet: the performance on unseen images is unknown."]),
        "## External validation",
        *([*_external(facts.external), *external_findings_lines(facts.external_findings)] or ["NONE."]),
        "## Checklist",
        f"{tally(items)}.",
        "\n".join(["| | item | | evidence |", "|---|---|---|---|", *(_row(item) for item in items)]),
        "## Training",
        f"{markdown(made_by(environment))} {_recipe(recipe)}",
        f"Weights SHA-256 `{environment.weights_sha256 or 'unknown'}`; data `"
        f"{environment.data.digest or 'unknown'}`; code `{environment.code_sha256 or 'unknown'}`.",
    ]
    return run_front_matter(facts) + "\n\n".join(sections) + "\n"


def _evaluated(facts: Facts) -> list[str]:
    if facts.findings:
        return findings_lines(facts.findings)
    if not (metrics := facts.metrics):
        return []
    results = _results(metrics, facts.run.labels, COLUMNS)
    return [markdown(verdict(metrics)), *results, *_leads(metrics), *_decision_lines(metrics)]


def file_card(facts: FileFacts, card_intro: str = "") -> str:
    """A model file's card as Markdown.

    Args:
        facts: What it is made of.
        card_intro: Markdown, put behind the title.
    """
    provenance, int8 = facts.provenance, facts.int8
    data, made = provenance.data, provenance.trained_with
    sections = [
        f"# {markdown(facts.name)}",
        *([card_intro.strip()] if card_intro.strip() else []),
        LIMITS,
        "## Labels",
        _labels(facts.labels, facts.label_name, facts.positive_label),
        "## Training data",
        f"{code_span(data.name)}, digest `{data.digest[:16]}`; "
        f"splits by {'patient' if data.patients_known else 'image'}.",
        _data(data.notes, data.counts, facts.labels, data.findings),
        "## Results",
        *(_measured(facts) or ["Not measured: run `hilum evaluate` before `hilum export`."]),
        "## Certificate",
        _certificate(facts.certificate, facts.certificates),
    ]
    if int8:
        sections += [
            "## 8 bits",
            f"Inner layers were quantised ({int8.method}). {int8_in_words(int8)}\n"
            f"The results above are the float network's. Certificate: {markdown(int8.certificate)}.",
        ]
    sections += [
        "## Training",
        f"{_recipe(facts.recipe)} {provenance.parameters:,} parameters. "
        f"{'Made' if provenance.members else 'Trained'} on {markdown(provenance.trained_on)} "
        f"with hilum {made.hilum} and PyTorch {made.torch}; weights `{provenance.weights_sha256[:16]}`.",
        *map(markdown, began_with(provenance.initial, provenance.members)),
        f"{_calibration(facts.calibration)} {markdown(prior_sentence(facts.calibration.step))}".strip(),
        "## Licence",
        markdown(facts.licence),
    ]
    return "\n\n".join(sections) + "\n"


def _measured(facts: FileFacts) -> list[str]:
    if facts.findings:
        return findings_lines(facts.findings)
    columns = [column for column in COLUMNS if column.key in MEASURES]
    return _results(facts.results, facts.labels, columns) if facts.results else []


def int8_in_words(facts: Quantisation) -> str:
    """What 8 bits cost, in one sentence."""
    found = facts.loss
    patients = f" of {found.n_patients:,} patients" if found.n_patients else ""
    return (
        f"8 bits against float, on {found.n_images:,} images{patients} of `{found.split}`: a probability moves "
        f"by {found.mean_difference:.4f} on average, by {found.largest_difference:.3f} at most; "
        f"{found.changed:.1%} of labels change; accuracy {found.accuracy.in_float:.1%} to {found.accuracy.int8:.1%}, "
        f"log-loss {found.log_loss.in_float:.4f} to {found.log_loss.int8:.4f}; "
        f"the graph has {facts.bytes.ratio:.0%} of the bytes."
    )


def _labels(labels: Sequence[str], label_name: Mapping[str, str], positive: str | None) -> str:
    lines = []
    for label in labels:
        shown = f": {markdown(label_name[label])}" if label_name.get(label) else ""
        mark = " (positive label)" if label == positive else ""
        lines.append(f"- {code_span(label)}{shown}{mark}")
    return "\n".join(lines)


def _data(
    notes: Sequence[str],
    counts: Mapping[str, Mapping[str, int]],
    labels: Sequence[str],
    findings: Sequence[Statement],
) -> str:
    """Images by split and label, errors that the audit found, and notes."""
    rows = [f"| images | {' | '.join(map(markdown, labels))} |", f"|---{'|---' * len(labels)}|"]
    rows += [
        f"| {split} | {' | '.join(str(counts[split].get(label, 0)) for label in labels)} |"
        for split in SPLITS
        if split in counts
    ]
    parts = ["\n".join(rows)]
    if errors := said_briefly(findings):
        listed = [f"- {markdown(line.removeprefix('ERROR '))}" for line in errors]
        parts.append("\n".join(["**Errors found by the audit of these data:**", "", *listed]))
    return "\n\n".join([*parts, *(f"> {markdown(note)}" for note in notes)])


def _results(metrics: Metrics, labels: Sequence[str], columns: Sequence[ByLabel]) -> list[str]:
    """What was measured on test images: a sentence, a table of measures by label, and calibration errors."""
    patients = f" of {metrics.n_patients:,} patients" if metrics.n_patients else ""
    overall = (
        f"accuracy {interval_text(metrics.accuracy)}, balanced accuracy {interval_text(metrics.balanced_accuracy)}"
    )
    columns = [column for column in columns if metrics.by_label(column.key)]
    table = [f"| label, with 95 % CI | {' | '.join(map(heading, columns))} |", f"|---{'|---' * len(columns)}|"]
    for label in labels:
        entries = (metrics.by_label(column.key).get(label) for column in columns)
        cells = (measured(entry, as_percent=of.as_percent) for entry, of in zip(entries, columns, strict=True))
        shown = (f"{value} ({limits.removesuffix(' %')})" for value, limits in cells)
        table.append(f"| {code_span(label)} | {' | '.join(shown)} |")
    errors = [
        f"{name} calibration error {ece.value:.3f} (if calibrated: {ece.ece_null_mean:.3f})"
        for name, ece in metrics.errors().items()
    ]
    said = f"On {metrics.n_images:,} images{patients} of {code_span(metrics.split)}: {overall}."
    return [said, "\n".join(table), f"{'; '.join(errors)}."]


def _certificate(certificate: Certificate | None, together: FindingsCertificate | None = None) -> str:
    if together:
        return markdown(f"{family_sentence(together)}.")
    if not certificate:
        return "None: this model has no certified operating point."
    told = [f"{certified_sentence(certificate)}.", *(f"{sentence}." for sentence in unit_sentences(certificate))]
    who = f"{certificate.n_patients:,} {certificate.resampling_unit}"
    told.append(f"It rests on {who} unseen by the model, and holds only for patients like those.")
    return markdown(" ".join(f"{sentence[:1].upper()}{sentence[1:]}" for sentence in told))


def _recipe(recipe: Recipe) -> str:
    if each := [f"({number}) {_recipe(member)}" for number, member in enumerate(recipe.members, 1)]:
        return f"An ensemble of trained runs, the geometric mean of their probabilities. {' '.join(each)}"
    network, shape = recipe.network, recipe.preprocessing
    of = f"`{network.architecture}`{f', {network.ensemble_size} members' if network.ensemble_size > 1 else ''}"
    return (
        f"Recipe {code_span(recipe.name)}: {recipe.hierarchy}, network {of}, seed {recipe.training.seed}; "
        f"images of {shape.size}x{shape.size} pixels{', histogram-equalised' if shape.equalise else ''}"
        f"{', normalised by local contrast' if shape.local_contrast else ''}.{_encoder(recipe.encoder)}"
    )


def _encoder(choice: EncoderChoice) -> str:
    """The frozen encoder, whose licence and terms bind whoever uses the model."""
    if not choice.sha256:
        return ""
    terms = f"; {markdown(choice.terms)}" if choice.terms else ""
    return (
        f" The encoder {code_span(Path(choice.file).name)} was not trained here: licence {markdown(choice.licence)}"
        f"{terms}; SHA-256 {choice.sha256}. Its licence binds this file, too."
    )


def _calibration(calibration: Calibration) -> str:
    temperatures = calibration.temperatures
    if temperatures and applied(temperatures):
        listed = ", ".join(f"{value:.3f}{f' ({markdown(of)})' if of else ''}" for of, value in temperatures.items())
        return f"Probabilities are calibrated; temperatures: {listed}."
    note = calibration.note or "probabilities are not calibrated"
    return markdown(f"{note[:1].upper()}{note[1:]}.")


def _leads(metrics: Metrics) -> list[str]:
    """The table of the model's leads over the shortcut baselines."""
    table = ["| label | AUROC | shortcut baseline | its AUROC | lead | lead above zero |", "|---|---|---|---|---|---|"]
    for label, found, entry, shown in lead_rows(metrics.shortcuts) if metrics.shortcuts else ():
        areas = f"{fraction(found.model.value)} | {markdown(entry.name)} | {fraction(entry.auroc.value)}"
        lead = cell_text(entry.difference, as_percent=False, sign=True)
        table.append(f"| {markdown(label)} | {areas} | {lead} | {shown} |")
    return ["\n".join(table)] if len(table) > 2 else []


def _decision_lines(metrics: Metrics) -> list[str]:
    return ["\n".join(f"- {markdown(line)}" for line in decision_lines(metrics))]


def _external(external: Mapping[str, Metrics]) -> list[str]:
    return [
        f"**{markdown(name)}**: {markdown(verdict(metrics))}\n{''.join(_decision_lines(metrics))}"
        for name, metrics in external.items()
    ]


def _row(item: Item) -> str:
    evidence = markdown(item.evidence.replace("\n", " "))
    return f"| {item.number} | {item.name} | {MARKS[item.state]} | {evidence} |"
