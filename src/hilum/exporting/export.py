"""From a run to one file that can be carried anywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import hilum
from hilum.data.cache import Images
from hilum.data.images import SCHEME
from hilum.data.labels import nested_decisions
from hilum.errors import CheckpointError, RunError, UsageError
from hilum.evaluation.certificate_check import certificate_in_force, with_checksum
from hilum.evaluation.cohort import run_images
from hilum.evaluation.ood_reference import fit_reference
from hilum.evaluation.schema import Metrics
from hilum.evaluation.temperature import calibrate
from hilum.evaluation.triage_schema import Certificate, LedgerPlace
from hilum.exporting.graph import INPUT, OUTPUTS, ServedGraph, to_onnx, with_metadata
from hilum.exporting.quantise import to_int8
from hilum.files import as_bytes, save_bytes, saving_together, settle
from hilum.outputs import CARD, CONFIG, MODEL, check_file_place, check_folder, check_target
from hilum.progress import Progress
from hilum.report.model_card import (
    MEASURES,
    CardData,
    FileFacts,
    Provenance,
    Versions,
    file_card,
    int8_in_words,
    with_front_matter,
)
from hilum.serving.metadata import LONGEST, pack
from hilum.serving.model_file import FORMAT, ModelFile, open_model_file
from hilum.text import encodable, is_text
from hilum.training.checkpoints import load_weights, weights_sha256
from hilum.training.module import build_for
from hilum.training.prepare import known_of
from hilum.training.run import Run, read_json

POINT = ("group", "members", "threshold", "upper_threshold", "image_threshold")  # what is needed to decide
UNSTATED = "Unstated. What may be done with the weights follows from the licence of the images they were trained on."


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
        msg = f"{run.path}: the training is not finished. Go on with hilum train DATA --out {run.path} --resume"
        raise RunError(msg)
    check_file_place(out)
    check_target(out, MODEL, inputs=[run.best, run.last, run.path / "split.csv"])
    labels, recipe = run.labels, run.recipe
    for text in (words.name, words.licence, words.card_intro, *words.label_name.values()):
        if not is_text(text):
            msg = f"'{text}' is not UTF-8, which a model file is written in. Write it so."
            raise UsageError(msg)
    for text in (words.name, *words.label_name.values()):
        if len(text) > LONGEST:
            msg = f"'{text[:40]}...' has {len(text):,} letters; a name has at most {LONGEST:,}. Shorten it."
            raise UsageError(msg)
    if unknown := sorted(words.label_name.keys() - set(labels)):
        msg = f"'{unknown[0]}' is no label of {run.path} ({', '.join(labels)})."
        raise UsageError(msg, code="no-such-label")
    images = _images(run, data, progress) if int8 else None
    calibration = calibrate(run, data, images=images, progress=progress)
    if calibration.note:
        progress.line(calibration.note)
    notes: list[str] = []
    certificate = certificate_in_force(run, calibration.temperatures, notes)
    network = build_for(recipe, labels)
    load_weights(network, run.best)
    if weights_sha256(network) != run.environment.weights_sha256:
        msg = f"{run.best}: not the weights with which the training ended. Take another copy of the run."
        raise CheckpointError(msg, code="other-weights", path=run.best)
    size = recipe.preprocessing.size
    graph = ServedGraph(network, labels, recipe.hierarchy, calibration.temperatures, recipe.preprocessing).eval()
    outputs = OUTPUTS if graph.maps else OUTPUTS[:-1]
    model = to_onnx(graph, size, outputs)
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
    results, provenance, name = _results(run), _provenance(run), encodable(words.name or run.name)
    card = FileFacts(
        name,
        labels,
        words.label_name,
        run.positive_label,
        results,
        certificate,
        int8_facts,
        provenance,
        recipe,
        calibration,
        words.licence,
    )
    facts = {
        "format": FORMAT,
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
            for branch in nested_decisions(labels)
        ],
        "preprocessing": {"scheme": SCHEME, **recipe.preprocessing.model_dump(mode="json")},
        "input": {"name": INPUT, "type": "uint8", "shape": ["batch", size, size]},
        "outputs": list(outputs),
        "maps": [{"decision": decision, "child": child} for decision, child in graph.maps],
        "calibration": {"temperatures": calibration.temperatures, "note": calibration.note},
        "certificate": certified,
        "operating_point": {key: certified[key] for key in POINT if key in certified} if certified else None,
        "abstention": pack(known.reference, known.facts.as_json()) if known.reference and known.facts else None,
        "int8": int8_facts.as_json() if int8_facts else None,
        "results": _kept(results) if results else None,
        "licence": words.licence,
        "provenance": provenance.as_json() | {"recipe": recipe.model_dump(mode="json")},
        "card": file_card(card, words.card_intro),
    }
    content = with_metadata(facts, model)
    model_file = open_model_file(content, str(out))  # first: what cannot be opened would replace a model that can
    _write(out, content)
    return model_file


def _without_place(certificate: Certificate) -> Certificate:
    """A certificate that does not say where the ledger lies: a path tells of the machine."""
    if place := certificate.ledger:
        nameless = LedgerPlace.model_validate({key: value for key, value in place.given().items() if key != "path"})
        certificate = certificate.model_copy(update={"ledger": nameless})
    return with_checksum(certificate)


def _images(run: Run, data: Path | None, progress: Progress) -> Images:
    images, why = run_images(run, progress, root=data)
    if images is None:
        msg = f"{run.path}: 8 bits take the images of the training, and {why}. Say where they lie with --data."
        raise RunError(msg, code="no-images", path=run.path)
    return images


def _results(run: Run) -> Metrics | None:
    """What was measured of these weights on the run's test images."""
    folder = run.path / "evaluation" / "test"
    settle(folder)
    file = folder / "metrics.json"
    if read_json(file).get("weights_sha256") != run.environment.weights_sha256:
        return None
    return Metrics.read(file, f"hilum evaluate {run.path}")


def _kept(results: Metrics) -> dict[str, Any]:
    found = results.to_json()
    return {key: found[key] for key in ("split", "n_images", "n_patients", *MEASURES) if key in found}


def _provenance(run: Run) -> Provenance:
    environment = run.environment
    data = environment.data
    counts: dict[str, dict[str, int]] = {}
    for row in run.rows:
        part = counts.setdefault(row.split, {})
        part[row.label] = part.get(row.label, 0) + 1
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
    )


def _write(out: Path, content: bytes) -> None:
    try:
        save_bytes(out, content)
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror}). Choose another place."
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
            f"--hub-folder {folder}: holds {others[0]} and would be published as a whole. "
            "Choose a folder for the model alone."
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
        "hilum": {"format": facts["format"], "version": facts["hilum"], "sha256": model_file.sha256},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with saving_together(folder) as save:
            save("model.onnx", model_file.model)
            save("README.md", with_front_matter(facts["card"]).encode())
            save("config.json", as_bytes(config))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder."
        raise RunError(msg) from error
