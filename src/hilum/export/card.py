"""The model card: what a model was made of, how good it was found to be, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hilum.audit.findings import said_briefly
from hilum.evaluation.calibration import ECE, applied
from hilum.export.int8 import in_words
from hilum.printable import code_span, markdown

LIMITS = (
    "For research and teaching. **Not for diagnosis.** A probability says how images like the training images were "
    "labelled; on other ages, machines, countries or diseases it may mean nothing, and labels the model never saw are "
    "given the nearest one it knows."
)


def write_card(facts: Mapping[str, Any], remarks: str = "") -> str:
    """Markdown from what a bundle's metadata say.

    Args:
        facts: All metadata but the card.
        remarks: Markdown, put behind the title.
    """
    return "\n".join(_lines(facts, remarks)).rstrip() + "\n"


def _lines(facts: Mapping[str, Any], remarks: str) -> Iterator[str]:
    provenance, results = facts["provenance"], facts["results"]
    data, recipe = provenance["data"], provenance["recipe"]
    yield from (f"# {markdown(facts['name'])}", "")
    if remarks:
        yield from (remarks.strip(), "")
    yield from (LIMITS, "", "## Labels", "")
    for label in facts["labels"]:
        shown = facts["display"].get(label)
        mark = " (protected: the one that must not be missed)" if label == facts["protected"] else ""
        yield f"- {code_span(label)}{f': {markdown(shown)}' if shown else ''}{mark}"
    yield from ("", "## Training data", "")
    unit = "patient" if data["patients_known"] else "image"
    yield f"{code_span(data['name'])}, digest `{data['digest'][:16]}`; splits by {unit}."
    yield ""
    yield from _counts(data["counts"], facts["labels"])
    if errors := said_briefly(data.get("findings", [])):
        yield from ("", "**Errors that the audit found in these data:**", "")
        yield from (f"- {markdown(line.removeprefix('ERROR '))}" for line in errors)
    for note in data["notes"]:
        yield from ("", f"> {markdown(note)}")
    yield from ("", "## Results", "")
    yield from _results(results, facts["labels"])
    yield from ("", "## Certificate", "")
    yield _certificate(facts["certificate"])
    if int8 := facts["int8"]:
        yield from ("", "## 8 bits", "", f"Inner layers were quantised ({int8['method']}). {in_words(int8)}")
        yield f"The results above are the float network's. Certificate: {markdown(int8['certificate'])}."
    yield from ("", "## How it was made", "")
    network, shape = recipe["network"], recipe["preprocessing"]
    local = ", each pixel seen against its surroundings" if shape["local_contrast"] else ""
    members = f", {network['members']} members" if network["members"] > 1 else ""
    yield (
        f"Recipe {code_span(recipe['name'])}: {facts['architecture']}, network `{network['name']}`{members}, "
        f"{provenance['parameters']:,} parameters, seed {recipe['training']['seed']}; "
        f"images of {shape['size']}x{shape['size']} pixels"
        f"{', histogram-equalised' if shape['equalise'] else ''}{local}. "
        f"Trained on {markdown(provenance['trained_on'])} with hilum "
        f"{provenance['trained_with']['hilum']} and PyTorch {provenance['trained_with']['torch']}; "
        f"weights `{provenance['weights_sha256'][:16]}`."
    )
    yield ""
    temperatures = facts["calibration"]["temperatures"]
    if applied(temperatures):
        listed = ", ".join(
            f"{value:.3f}{f' ({markdown(name)})' if name else ''}" for name, value in temperatures.items()
        )
        yield f"Probabilities are calibrated; temperatures: {listed}."
    else:
        note = facts["calibration"]["note"] or "probabilities are not calibrated"
        yield markdown(f"{note[:1].upper()}{note[1:]}.")
    yield from ("", "## Licence", "", markdown(facts["licence"]))


def _certificate(certificate: Mapping[str, Any] | None) -> str:
    if not certificate:
        return "None: nobody has certified an operating point of this model."
    who = f"{certificate['n_patients']:,} {certificate.get('unit', 'patients')}"
    told = (
        f"With {certificate['confidence']:.0%} confidence at most {certificate['miss_rate']:.1%} of the patients with "
        f"{code_span(certificate['group'])} are cleared where those with a probability below "
        f"{certificate['threshold']:.4g} are; from {who} that the model never saw. "
        "It holds for patients like those, and for no others."
    )
    if upper := certificate.get("upper"):
        what = f"the specificity is at least {upper['bound']:.1%}"
        if upper["kind"] == "ppv":
            what = f"the PPV is at least {upper['bound']:.1%} at a prevalence of {upper['prevalence']:.1%}"
        told += f" With the same confidence for both together, {what} where those from {upper['threshold']:.4g} on are "
        told += "flagged; what lies between is to be read by a person."
    images = certificate.get("images")
    if images and images["max"] > 1:
        told += (
            f" The guarantee is by patient, by the largest probability of all images: {images['mean']:.1f} on average, "
            f"{images['max']} at most. For an image by itself the threshold is {certificate['image_threshold']:.4g}."
        )
    return told


def _counts(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Iterator[str]:
    yield f"| images | {' | '.join(map(markdown, labels))} |"
    yield f"|---{'|---' * len(labels)}|"
    for split in ("train", "val", "calibration", "test", "unused"):
        if split in counts:
            yield f"| {split} | {' | '.join(str(counts[split].get(label, 0)) for label in labels)} |"


def _results(results: Mapping[str, Any] | None, labels: Sequence[str]) -> Iterator[str]:
    if not results:
        yield "Not measured: run `hilum evaluate` before `hilum export`."
        return
    patients = f" of {results['n_patients']:,} patients" if results["n_patients"] else ""
    yield f"On {results['n_images']:,} images{patients} of {code_span(results['split'])}; 95 % intervals."
    yield from ("", "| measure | value | 95 % interval |", "|---|---|---|")
    rows = [("accuracy", results["accuracy"]), ("balanced accuracy", results["balanced_accuracy"])]
    rows += [(f"recall of {code_span(label)}", results["recall"][label]) for label in labels]
    rows += [(f"precision of {code_span(label)}", results["precision"][label]) for label in labels]
    rows += [(f"AUROC of {code_span(label)}", results["auroc"][label]) for label in labels if label in results["auroc"]]
    for name, item in rows:
        if item["value"] is not None:
            low, high = item["low"], item["high"]
            interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
            yield f"| {name} | {item['value']:.3f} | {interval} |"
    for key, name in ECE.items():
        if ece := results.get(key) or (results["ece"] if key == "ece_class_wise" else None):
            floor = f"a perfect model of these probabilities: {ece['noise_floor']:.3f}"
            yield f"| {name} calibration error ({floor}) | {ece['value']:.3f} | |"
