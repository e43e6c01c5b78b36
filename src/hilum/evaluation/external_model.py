"""A network that hilum did not train, or a model file, asked about a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images, open_images
from hilum.data.catalogue.entries import citation
from hilum.data.dataset import Dataset
from hilum.data.options import mapped
from hilum.data.preprocessing import Preprocessing
from hilum.decision.operating_point import are_probabilities
from hilum.errors import ModelFileError, SplitError
from hilum.evaluation.cohort import match_labels
from hilum.evaluation.external_description import ExternalModel, read_model
from hilum.evaluation.external_findings import ExternalFindings
from hilum.evaluation.external_predictions import ExternalPredictions
from hilum.evaluation.findings_cohort import check_task, findings_as
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import columns_of
from hilum.progress import Progress

BATCH = 32


def predict_external(
    model: ExternalModel,
    table: Dataset,
    *,
    split: str = "test",
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExternalPredictions:
    """Ask a network about a dataset.

    Args:
        model: The network.
        table: Labelled images; their labels are matched to the network's as those of external data are to a run's.
        split: Which part; a dataset without splits is taken whole.
        mapping: The network's label for labels of the dataset; empty to leave their images out.
        progress: Told as images are done.

    Raises:
        ModelFileError: ONNX Runtime cannot run the network, or what it gives are no probabilities of the labels.
        SplitError: The split is empty, or holds labels that the network does not know.
        UsageError: `mapping` names a label that does not exist.
    """
    progress, labels = progress or Progress(), model.description.labels
    check_task(table, (), model.name)
    chosen = _chosen(table, labels, split, mapping)
    taken = model.description.input
    images = open_images(
        chosen, Preprocessing(size=taken.size, fit=taken.fit, equalise=taken.equalise), progress=progress
    )
    predictions = Predictions.of(images.table, labels, _probabilities(model, images, progress))
    notes = [
        *table.notes,
        *citation(table.layout, mapped(table.options, mapping)),
        *(f"left out: {item.message}" for item in images.unreadable),
    ]
    columns = columns_of(images.table.rows)
    return ExternalPredictions(predictions, columns, model.name, tuple(notes), table.root, split=_named(table, split))


def predict_by(
    file: Path,
    table: Dataset,
    *,
    split: str = "test",
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExternalPredictions | ExternalFindings:
    """Ask a model file (or its folder, or a pretrained one by name), or a network that a TOML file describes."""
    from hilum.serving.model_file import named_model

    file = named_model(file)
    described = file.is_file() or file.suffix.lower() == ".toml"
    if file.suffix.lower() == ".onnx" or not described:
        return predict_model_file(file, table, split=split, mapping=mapping, progress=progress)
    return predict_external(read_model(file), table, split=split, mapping=mapping, progress=progress)


def predict_model_file(
    file: Path,
    table: Dataset,
    *,
    split: str = "test",
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExternalPredictions | ExternalFindings:
    """Ask a model file of hilum about a dataset; arguments and errors are those of `predict_external`."""
    from hilum.serving.predictor import Predictor

    progress, predictor = progress or Progress(), Predictor(file)
    labels = predictor.model_file.labels
    findings = predictor.model_file.findings
    check_task(table, findings, file.name)
    rows, stated, notes = [], [], [*table.notes, *citation(table.layout, mapped(table.options, mapping))]
    chosen = (
        findings_as(_of_split(table, split), findings, mapping or {}, notes)
        if findings
        else _chosen(table, labels, split, mapping)
    )
    with progress.task("Predicting", len(chosen)) as advance:
        for row, answer in zip(chosen.rows, predictor.predict_many(map(chosen.file, chosen.rows)), strict=True):
            if answer.error:
                notes.append(f"left out: {row.path}: {answer.error}")
            else:
                rows.append(row)
                stated.append([answer.probabilities[label] for label in labels])
            advance(1)
    if not rows:
        msg = f"{table.root}: no image of the split can be read ({notes[-1]}). Check the paths."
        raise SplitError(msg, code="empty-split", path=table.root)
    probabilities = np.array(stated, np.float64)
    if findings:
        of_findings = FindingsPredictions.of(replace(chosen, rows=rows), probabilities)
        thresholds = {name: point.for_images().threshold for name, point in predictor.model_file.points.items()}
        return ExternalFindings(
            of_findings,
            columns_of(rows),
            file.name,
            tuple(notes),
            table.root,
            thresholds=thresholds,
            split=_named(table, split),
        )
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predictions = Predictions.of(replace(chosen, rows=rows), labels, probabilities)
    columns = columns_of(rows)
    return ExternalPredictions(predictions, columns, file.name, tuple(notes), table.root, split=_named(table, split))


def _chosen(table: Dataset, labels: Sequence[str], split: str, mapping: Mapping[str, str] | None) -> Dataset:
    """The images to be asked about, under the network's labels."""
    chosen = _of_split(table, split)
    matched = match_labels(chosen.labels, labels, mapping, root=table.root)
    known = chosen.take([i for i, row in enumerate(chosen.rows) if matched[row.label]])
    if not len(known):
        msg = f"{table.root}: --map-label excludes every label. Keep at least two."
        raise SplitError(msg, code="empty-split", path=table.root)
    return known.renamed("label", matched)


def _named(table: Dataset, split: str) -> str:
    """Which part was taken."""
    return split if table.splits else "all"


def _of_split(table: Dataset, split: str) -> Dataset:
    """The images of a split; all of a dataset without splits."""
    part = [i for i, row in enumerate(table.rows) if not table.splits or row.split == split]
    if not part:
        msg = f"{table.root}: no images of the split '{split}' (there are: {', '.join(table.splits)}). Give --split."
        raise SplitError(msg, code="empty-split", path=table.root)
    return table.take(part)


NAMED = {"float": "float32", "double": "float64"}  # by ONNX; others are called as in NumPy
FRACTIONS = ("float", "float16", "double")
WHOLE = ("uint8", "uint16", "int16", "int32", "int64")


def _kind(model: ExternalModel, stated: str) -> np.dtype[Any]:
    """The type of the network's input, which has to hold the values of pixels."""
    kind, taken = stated.removeprefix("tensor(").removesuffix(")"), model.description.input
    if kind not in (*FRACTIONS, *WHOLE):
        msg = f"{model.network}: its input is a {stated}, which holds no pixels. Give a network that takes them."
        raise ModelFileError(msg, code="wrong-input", path=model.network)
    if kind in WHOLE and not taken.takes_bytes:
        msg = (
            f"{model.network}: its input is a {stated}, of whole numbers, and its description gives fractions. Say "
            "range = [0, 255] in [input], and leave out mean and std."
        )
        raise ModelFileError(msg, code="wrong-input", path=model.network)
    return np.dtype(NAMED.get(kind, kind))


def _of_both(model: ExternalModel, second: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is said of two labels, from the one value of the second."""
    wanted, label = model.description.output, model.description.labels[1]
    if "values" not in wanted.model_fields_set or wanted.values == "log-probabilities":
        msg = (
            f"{model.network}: gives one value an image, of the label '{label}'. Say in [output] what it is: "
            'values = "sigmoid" for its probability, values = "logits" for its log-odds.'
        )
        raise ModelFileError(msg, code="unclear-output", path=model.network)
    return np.stack([np.zeros_like(second) if wanted.values == "logits" else 1 - second, second], axis=1)


def _probabilities(model: ExternalModel, images: Images, progress: Progress) -> NDArray[np.float64]:
    """Of shape (N, K)."""
    from onnxruntime import InferenceSession

    wanted, count = model.description.output, len(images.table)
    try:
        session: Any = InferenceSession(model.network, providers=["CPUExecutionProvider"])
        first, names = session.get_inputs()[0], [output.name for output in session.get_outputs()]
        if wanted.name and wanted.name not in names:
            msg = f"{model.network}: has no output '{wanted.name}' (there are: {', '.join(names)}). Correct [output]."
            raise ModelFileError(msg, code="no-output", path=model.network)
        kind = _kind(model, first.type)
        step = first.shape[0] if isinstance(first.shape[0], int) else BATCH
        answers = []
        with progress.task("Predicting", count) as advance:
            for begin in range(0, count, step):
                pixels = images.pixels[images.positions[begin : begin + step]]
                missing = step - len(pixels) if isinstance(first.shape[0], int) else 0
                batch = model.description.input.apply(
                    np.concatenate([pixels, np.zeros_like(pixels[:1]).repeat(missing, 0)])
                ).astype(kind)
                found = session.run([wanted.name or names[0]], {first.name: batch})[0]
                answers.append(np.asarray(found, np.float64).reshape(len(batch), -1)[: len(pixels)])
                advance(len(pixels))
    except ModelFileError:
        raise
    except Exception as error:  # of ONNX Runtime, which has no class of its own for them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        msg = f"{model.network}: cannot be run ({reason}). Check the file, and [input] of its description."
        raise ModelFileError(msg, code="cannot-run", path=model.network) from error
    stated = np.concatenate(answers)
    if stated.shape[1] == 1 and len(model.description.labels) == 2:
        stated = _of_both(model, stated[:, 0])
    elif wanted.values == "sigmoid":
        given = f"gives {stated.shape[1]} values an image"
        msg = f"{model.network}: {given}; sigmoid is a single one. Correct [output] values."
        raise ModelFileError(msg, code="wrong-outputs", path=model.network)
    if stated.shape[1] != len(model.description.labels):
        msg = (
            f"{model.network}: gives {stated.shape[1]} values per image, and its description names "
            f"{len(model.description.labels)} labels. Correct `labels`, in the order of the outputs."
        )
        raise ModelFileError(msg, code="wrong-outputs", path=model.network)
    if wanted.values == "logits" and are_probabilities(stated, 1e-4).all():
        msg = f'{model.network}: the values of each image sum to 1. Say in [output]: values = "probabilities".'
        raise ModelFileError(msg, code="no-logits", path=model.network)
    if wanted.values in ("logits", "log-probabilities"):
        stated = np.exp(stated - stated.max(axis=1, keepdims=True))
        stated = stated / stated.sum(axis=1, keepdims=True)
    wrong = ~are_probabilities(stated, 1e-3)
    if wrong.any():
        row, what = stated[int(wrong.argmax())], "are not numbers"
        if np.isfinite(row).all():
            inside = row.min() >= 0 and row.max() <= 1
            what = f"sum to {row.sum():.4g}, not 1" if inside else f"reach from {row.min():.4g} to {row.max():.4g}"
        msg = f"{model.network}: the values of an image {what}. Are they logits? Correct [output] values."
        raise ModelFileError(msg, code="no-probabilities", path=model.network)
    scaled: NDArray[np.float64] = stated / stated.sum(axis=1, keepdims=True)
    return scaled
