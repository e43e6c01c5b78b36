"""A run on real radiographs and on what is none: certificates, and who is abstained on.

    python studies/evaluation_real.py RUN DATA OTHER    # writes the tables of evaluation.md that need them

RUN was trained on DATA (seed-cxr); OTHER is darkcovidnet. The leg and the adult's chest come with ``pydicom-data``,
the photographs with scikit-learn; without pydicom their rows are left out.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from document import fill
from hilum.decision.ood import FAR, Reference
from hilum.errors import CertificateError
from hilum.evaluation.certificate_check import measure_certificate
from hilum.evaluation.certify import certify
from hilum.evaluation.cohort import select_images
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.ood_reference import fit_reference
from hilum.models.stages import WithFeatures
from hilum.progress import Progress
from hilum.training.checkpoints import load_weights
from hilum.training.module import build_for, to_network_range
from hilum.training.run import Run, open_run

DICOM = {"an adult's chest (RG1)": "RG1_UNCR.dcm", "a leg (RG3)": "RG3_UNCR.dcm"}


def certificates(run: Run, data: Path, other: Path) -> list[str]:
    inside, outside = evaluate(run, data).predictions, evaluate(run, other).predictions
    rows = [
        "| what | bound | calibration patients | healthy flagged there | missed, test | healthy flagged, test "
        "| shift, test | missed, other | healthy flagged, other | shift, other |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with TemporaryDirectory() as folder:
        # Without the certificate that the run may have, which would count as an attempt.
        shutil.copytree(run.path, Path(folder) / "run", ignore=shutil.ignore_patterns("certificate*"))
        run = open_run(Path(folder) / "run")
        for group in ("infected/covid", "infected/*"):
            for rate in (0.10, 0.05, 0.02):
                try:
                    # Each as if it were the only attempt: a ledger of its own, which nobody who keeps one of them has.
                    place = Path(folder) / f"{group.replace('/', '-').replace('*', 'all')}-{rate}"
                    place.mkdir()
                    facts = certify(
                        run, data, false_negative_rate=rate, group=group, out=place / "certificate.json", ledger=place
                    ).certificate
                except CertificateError as error:
                    missing = str(error).split("takes ")[1].split(". ")[0]
                    rows.append(f"| `{group}` | {100 * rate:.0f} % | refused: takes {missing} | | | | | | | |")
                    continue
                cells = [
                    f"`{group}`",
                    f"{100 * rate:.0f} %",
                    str(facts.n_patients),
                    _share(facts.flagged["normal"].as_json()),
                ]
                for predictions in (inside, outside):
                    held = measure_certificate(facts, predictions).as_json()
                    missed = f"{held['missed']} of {held['patients']}, {_share(held)}, {held['verdict']}"
                    cells += [
                        missed,
                        _share(held["flagged"]["normal"]),
                        f"p = {held['exchangeability']['p_value']:.2g}",
                    ]
                rows.append(f"| {' | '.join(cells)} |")
    return rows


def _share(entry: dict) -> str:
    return f"{100 * entry['value']:.1f} % ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"


def ood_images(run: Run, data: Path, other: Path) -> list[str]:
    reference = fit_reference(run, data).reference
    parts = {"own test images": select_images(run, data, "test", Progress())}
    parts["the other data"] = select_images(run, other, "test", Progress())
    pixels = {name: np.asarray(part.images.pixels)[part.images.positions] for name, part in parts.items()}
    labels = [row.label for row in parts["the other data"].images.table.rows]
    own, foreign = pixels["own test images"], pixels.pop("the other data")
    for label in run.labels:
        pixels[f"the other data: {label}"] = foreign[[name == label for name in labels]]
    pixels |= {
        "own, mirrored": own[:, :, ::-1],
        "own, upside down": own[:, ::-1],
        "own, rotated by 90°": np.rot90(own, 1, (1, 2)),
        "own, inverted": 255 - own,
        "noise": np.random.default_rng(0).integers(0, 256, (200, *own.shape[1:])).astype(np.uint8),
        "blank": np.full((20, *own.shape[1:]), 90, np.uint8),
        "photographs": _photographs(run),
        **_dicom(run),
    }
    rows = ["| images | number | no chest radiograph | unfamiliar | abstained on |", "|---|---|---|---|---|"]
    for name, images in pixels.items():
        reasons = np.array(reference.judge(_features(run, images), images).reasons, dtype=object)
        far, any_reason = (reasons == FAR).mean(), (reasons != "").mean()
        shares = f"{100 * far:.1f} % | {100 * (any_reason - far):.1f} % | {100 * any_reason:.1f} %"
        rows.append(f"| {name} | {len(images)} | {shares} |")
    return [*rows, "", _about(reference)]


def _about(reference: Reference) -> str:
    return (
        f"Compared with {len(reference.features)} training images and {len(reference.feature_distances)} calibration "
        f"patients, at a stated rate of false abstentions of {100 * reference.level:.0f} %."
    )


def _features(run: Run, pixels: np.ndarray) -> np.ndarray:
    network = build_for(run.recipe, run.labels)
    load_weights(network, run.best)
    network = WithFeatures(network.eval()).eval()
    with torch.inference_mode():
        batches = [torch.from_numpy(np.array(pixels[i : i + 256]))[:, None] for i in range(0, len(pixels), 256)]
        seen = (to_network_range(batch.float() / 255, run.recipe.preprocessing) for batch in batches)
        return np.concatenate([network(images)[1].numpy() for images in seen])


def _photographs(run: Run) -> np.ndarray:
    prepared = []
    for picture in load_sample_images().images:
        grey = picture.mean(axis=2).astype(np.float32) / 255
        corners = ((y, x) for y in range(0, grey.shape[0] - 200, 70) for x in range(0, grey.shape[1] - 200, 110))
        prepared += [run.recipe.preprocessing.apply(grey[y : y + 200, x : x + 200]) for y, x in corners]
    return np.stack(prepared)


def _dicom(run: Run) -> dict[str, np.ndarray]:
    try:
        import pydicom
        from pydicom.data import get_testdata_file
    except ImportError:
        return {}
    found = {}
    for name, file in DICOM.items():
        read = pydicom.dcmread(str(get_testdata_file(file)))
        grey = read.pixel_array.astype(np.float32)
        grey = (grey - grey.min()) / (grey.max() - grey.min())
        grey = 1 - grey if read.PhotometricInterpretation == "MONOCHROME1" else grey
        found[name] = run.recipe.preprocessing.apply(grey)[None]
        found[f"{name}, read with its photometry reversed"] = run.recipe.preprocessing.apply(1 - grey)[None]
    return found


def main() -> None:
    run, data, other = open_run(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
    tables = {"real-certificates": certificates(run, data, other), "ood": ood_images(run, data, other)}
    fill("explanation/evaluation.md", {name: "\n".join(rows) for name, rows in tables.items()})


if __name__ == "__main__":
    main()
