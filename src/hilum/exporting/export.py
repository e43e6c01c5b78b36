"""From a run to one file that can be carried anywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

import hilum
from hilum.data.cache import Images
from hilum.data.images import SCHEME
from hilum.data.labels import nested_decisions
from hilum.data.multilabel import SEPARATOR
from hilum.data.preprocessing import Preprocessing, Stacked
from hilum.errors import RunError, UsageError
from hilum.evaluation.certificate_check import certificate_in_force, with_checksum
from hilum.evaluation.cohort import run_images
from hilum.evaluation.evaluate_findings import findings_in_force
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.inference import trained_network
from hilum.evaluation.ood_reference import fit_reference
from hilum.evaluation.prior_step import log_factors
from hilum.evaluation.schema import Metrics
from hilum.evaluation.temperature import Calibration, calibrate, same_steps
from hilum.evaluation.triage_schema import Certificate, LedgerPlace
from hilum.exporting.graph import INPUT, OUTPUTS, ServedGraph, to_onnx, with_metadata
from hilum.exporting.quantise import to_int8
from hilum.files import as_bytes, save_bytes, saving_together, settle
from hilum.outputs import CARD, CONFIG, MODEL, check_file_place, check_folder, check_target
from hilum.progress import Progress
from hilum.report.front_matter import with_front_matter
from hilum.report.model_card import (
    MEASURES,
    CardData,
    FileFacts,
    Provenance,
    Versions,
    file_card,
    int8_in_words,
)
from hilum.serving.metadata import LONGEST, pack
from hilum.serving.model_file import FORMAT, FORMAT_OF_FINDINGS, FORMAT_OF_VIEWS, ModelFile, open_model_file
from hilum.text import encodable, is_text
from hilum.training.encoder_head import has_encoder
from hilum.training.initialisation import without_path
from hilum.training.prepare import known_of
from hilum.training.run import Run, read_json

POINT = ("group", "members", "threshold", "upper_threshold", "image_threshold")  # what is needed to decide
UNSTATED = "Unstated. The licence of the training images determines the permitted use of the weights."


@dataclass(frozen=True)
class Words:
    """What a run cannot know of itself.

    Attributes:
        name: Of the model; by default the run's.
        licence: Of the weights.
        label_name: What labels are called before people.
        card_intro: Markdown that the card begins with, after its title.
    """

    name: str = ""
    licence: str = UNSTATED
    label_name: Mapping[str, str] = field(default_factory=dict)
    card_intro: str = ""


def export(
    run: Run,
    out: Path,
    words: Words | None = None,
    *,
    data: Path | None = None,
    int8: bool = False,
    progress: Progress | None = None,
) -> ModelFile:
    """Write a model file.

    Args:
        run: A finished run.
        out: The file; its name should end in ``.onnx``.
        words: What a run cannot know of itself.
        data: Where the run's images lie now, if they have moved and are still needed: for temperatures, and to
            know what is unlike them, and for `int8`.
        int8: Quantise the network to 8 bits, and say what that costs.
        progress: Told about what is missing.

    Raises:
        RunError: The run is not finished, the network cannot be exported or quantised, or the file cannot be written.
        CheckpointError: The weights are not those with which the training ended.
        UsageError: `words` speak of labels that do not exist, or `out` is there and no model file of hilum.
    """
    words, progress = words or Words(), progress or Progress()
    if not run.finished:
        msg = f"{run.path}: the training is not finished. Continue with hilum train DATA --out {run.path} --resume"
        raise RunError(msg)
    check_file_place(out)
    check_target(out, MODEL, inputs=[run.best, run.last, run.path / "split.csv"])
    labels, recipe = run.labels, run.recipe
    for text in (words.name, words.licence, words.card_intro, *words.label_name.values()):
        if not is_text(text):
            msg = f"'{text}' is not UTF-8. Write it in UTF-8."
            raise UsageError(msg)
    for text in (words.name, *words.label_name.values()):
        if len(text) > LONGEST:
            msg = f"'{text[:40]}...' has {len(text):,} characters; a name has at most {LONGEST:,}. Shorten it."
            raise UsageError(msg)
    if int8 and run.findings:
        msg = (
            f"{run.path}: --int8 measures what 8 bits cost by the most probable label, and an image may have several "
            "findings. Export without it."
        )
        raise UsageError(msg, code="int8-of-findings")
    if int8 and has_encoder(recipe):
        msg = f"{run.path}: --int8 quantises networks that hilum trained, and its encoder is frozen. Export without it."
        raise UsageError(msg, code="int8-of-encoder")
    if int8 and recipe.members:
        msg = f"{run.path}: --int8 quantises networks that hilum trained, not ensembles of runs. Export without it."
        raise UsageError(msg, code="int8-of-ensemble")
    if unknown := sorted(words.label_name.keys() - set(labels)):
        msg = f"'{unknown[0]}' is not a label of {run.path} ({', '.join(labels)})."
        raise UsageError(msg, code="no-such-label")
    images = _images(run, data, progress) if int8 else None
    calibration = calibrate(run, data, images=images, progress=progress)
    if calibration.note:
        progress.line(calibration.note)
    notes: list[str] = []
    certificate = None if run.findings else certificate_in_force(run, calibration, notes)
    together = findings_in_force(run, calibration, notes) if run.findings else None
    network = trained_network(run, labels)
    preprocessing = run.preprocessing
    factors = log_factors(calibration.step, labels) if calibration.step else None
    graph = ServedGraph(network, labels, run.structure, calibration.temperatures, preprocessing, factors).eval()
    outputs = OUTPUTS if graph.maps else OUTPUTS[:-1]
    model = to_onnx(graph, preprocessing.shape, outputs)
    if images is not None:
        quantised = to_int8(run, graph, model, images, certificate)
        model, certificate, known = quantised.model, quantised.certificate, quantised.known
        notes += [int8_in_words(quantised.facts), f"certificate: {quantised.facts.certificate}"]
    else:
        known = fit_reference(run, data, progress=progress)
    for note in (*notes, known.note):
        if note:
            progress.line(note)
    certificate = _without_place(certificate) if certificate else None
    certified = certificate.as_json() if certificate else None
    int8_facts = quantised.facts if images is not None else None
    results, provenance, name = _results(run, calibration), _provenance(run), encodable(words.name or run.name)
    card = FileFacts(
        name,
        labels,
        words.label_name,
        run.positive_label,
        results if isinstance(results, Metrics) else None,
        certificate,
        int8_facts,
        provenance,
        recipe,
        calibration,
        words.licence,
        results if isinstance(results, FindingsMetrics) else None,
        together,
    )
    views = _views(preprocessing)
    facts = {
        "format": FORMAT_OF_VIEWS if views else FORMAT_OF_FINDINGS if run.findings else FORMAT,
        "hilum": hilum.__version__,
        "name": name,
        "labels": list(labels),
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "label_name": dict(words.label_name),
        "positive_label": run.positive_label,
        "healthy": list(run.healthy),
        "hierarchy": recipe.hierarchy,
        "tree": [
            {"decision": branch.name, "children": list(branch.children), "members": [list(m) for m in branch.members]}
            for branch in (() if run.findings else nested_decisions(labels))
        ],
        "preprocessing": {"scheme": SCHEME, **preprocessing.model_dump(mode="json", exclude={"parts"}), **views},
        "input": {"name": INPUT, "type": "uint8", "shape": ["batch", *preprocessing.shape]},
        "outputs": list(outputs),
        "maps": [{"decision": decision, "child": child} for decision, child in graph.maps],
        "calibration": calibration.in_results(),
        "certificate": certified,
        "operating_point": {key: certified[key] for key in POINT if key in certified} if certified else None,
        "abstention": pack(known.reference, known.facts.as_json()) if known.reference and known.facts else None,
        "int8": int8_facts.as_json() if int8_facts else None,
        "results": _kept(results) if isinstance(results, Metrics) else None,
        "licence": words.licence,
        "provenance": provenance.as_json() | {"recipe": without_path(recipe, run.environment.initial)},
        "card": file_card(card, words.card_intro),
    }
    if run.findings:
        facts |= _facts_of_findings(together.findings if together else {})
    content = with_metadata(facts, model)
    model_file = open_model_file(content, str(out))  # first: what cannot be opened would replace a model that can
    _write(out, content)
    return model_file


def _views(preprocessing: Preprocessing) -> dict[str, object]:
    """The preprocessings of an ensemble, where the members take different bytes."""
    if not isinstance(preprocessing, Stacked) or len(preprocessing.views) < 2:
        return {}
    return {"views": [view.model_dump(mode="json", exclude={"local_contrast"}) for view in preprocessing.views]}


def _facts_of_findings(certificates: Mapping[str, Certificate]) -> dict[str, object]:
    """What metadata say only of findings: which task it is, and the certificate and thresholds of each."""
    certified = {name: _without_place(certificate).as_json() for name, certificate in certificates.items()}
    points = {name: {key: one[key] for key in POINT if key in one} for name, one in certified.items()}
    return {"task": "findings", "certificates": certified, "operating_points": points}


def _without_place(certificate: Certificate) -> Certificate:
    """A certificate that does not say where the ledger lies: a path tells of the machine."""
    if place := certificate.ledger:
        nameless = LedgerPlace.model_validate({key: value for key, value in place.given().items() if key != "path"})
        certificate = certificate.model_copy(update={"ledger": nameless})
    return with_checksum(certificate)


def _images(run: Run, data: Path | None, progress: Progress) -> Images:
    images, why = run_images(run, progress, root=data)
    if images is None:
        msg = f"{run.path}: quantisation needs the training images, and {why}. Give their folder with --data."
        raise RunError(msg, code="no-images", path=run.path)
    return images


def _results(run: Run, calibration: Calibration) -> Metrics | FindingsMetrics | None:
    """What was measured of these weights, with this prior step, on the run's test images."""
    folder = run.path / "evaluation" / "test"
    settle(folder)
    file = folder / "metrics.json"
    measured = read_json(file)
    if measured.get("weights_sha256") != run.environment.weights_sha256 or not same_steps(measured, calibration):
        return None
    kind = FindingsMetrics if run.findings else Metrics
    return kind.read(file, f"hilum evaluate {run.path}")


def _kept(results: Metrics) -> dict[str, object]:
    found = results.to_json()
    return {key: found[key] for key in ("split", "n_images", "n_patients", *MEASURES) if key in found}


def _provenance(run: Run) -> Provenance:
    environment = run.environment
    data = environment.data
    counts: dict[str, dict[str, int]] = {}
    for row in run.rows:
        part = counts.setdefault(row.split, {})
        for label in row.label.split(SEPARATOR) if run.findings else [row.label]:
            part[label] = part.get(label, 0) + 1
    return Provenance(
        weights_sha256=environment.weights_sha256,
        trained_with=Versions(
            hilum=environment.hilum,
            torch=environment.torch,
            python=environment.python,
            precision=environment.precision,
        ),
        trained_on=environment.started[:10],
        exported_with=Versions(hilum=hilum.__version__, torch=torch.__version__),
        data=CardData(
            name=encodable(Path(data.root).name),
            digest=data.digest,
            counts=counts,
            patients_known=data.patients_known,
            findings=known_of(run).findings,
            notes=[encodable(note) for note in data.notes],
        ),
        parameters=environment.parameters or 0,
        **{name: value for name, value in environment.given().items() if name in ("initial", "members") and value},
    )


def _write(out: Path, content: bytes) -> None:
    try:
        save_bytes(out, content)
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror}). Choose another path."
        raise RunError(msg) from error


FILES = {"model.onnx": MODEL, "README.md": CARD, "config.json": CONFIG}


def check_hub_folder(folder: Path) -> None:
    """Find before any work whether a folder may be written.

    Raises:
        UsageError: It holds files of these names that are not hilum's, or others, which an upload would publish.
    """
    check_folder(folder, FILES, option="--hub-folder")
    names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names only
    others = [name for name in names if name not in FILES and not name.startswith((".", "LICENSE"))]
    if others:
        msg = (
            f"--hub-folder {folder}: holds {others[0]} and would be published with it. Choose a folder for the model "
            "alone."
        )
        raise UsageError(msg)


def write_hub_folder(model_file: ModelFile, folder: Path) -> None:
    """Write what ``huggingface_hub.upload_folder`` can push as it is.

    Args:
        model_file: Of which the folder is to be.
        folder: Made if it is not there; files of the same names are replaced.

    Raises:
        RunError: It cannot be written.
        UsageError: It holds files of these names that are not hilum's.
    """
    check_hub_folder(folder)
    facts = model_file.facts
    config = {
        "model_type": "hilum",
        "architectures": [facts["hierarchy"]],
        "id2label": facts["id2label"],
        "label2id": facts["label2id"],
        "image_size": model_file.size,
        "num_channels": 1,
        **({"problem_type": "multi_label_classification"} if model_file.findings else {}),
        "hilum": {"format": facts["format"], "version": facts["hilum"], "sha256": model_file.sha256},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with saving_together(folder) as save:
            save("model.onnx", model_file.model)
            save("README.md", with_front_matter(str(facts["card"])).encode())
            save("config.json", as_bytes(config))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder."
        raise RunError(msg) from error
