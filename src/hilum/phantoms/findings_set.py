"""Datasets of phantoms with several findings an image: images, a column a finding, masks, and the truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hilum.data.readers.text_table import PHANTOMS, TRUTH, statement
from hilum.errors import UsageError
from hilum.files import save_bytes, save_json
from hilum.phantoms.cooccurrence import FINDINGS, check_prevalences, read_findings, sample_severities
from hilum.phantoms.defects import IMAGES_A_PATIENT
from hilum.phantoms.filling import filling, in_processes
from hilum.phantoms.findings_phantom import make_findings_phantom
from hilum.phantoms.image import encode, encode_mask
from hilum.phantoms.radiograph import patient_name
from hilum.progress import Progress

_PLAN = 12
_IMAGES = "images"


@dataclass(frozen=True)
class WrittenFindings:
    """What was written.

    Attributes:
        out: The dataset's folder.
        images: Number of images.
        patients: Number of patients.
        positives: Number of images that have each finding, whatever the table says of it.
    """

    out: Path
    images: int
    patients: int
    positives: Mapping[str, int]


@dataclass(frozen=True)
class _Planned:
    """One image: its patient's and its own number, its split, and the severity of each finding present."""

    seed: int
    size: int
    patient: int
    image: int
    split: str
    severities: Mapping[str, float]

    @property
    def path(self) -> str:
        """Where it goes, relative to the dataset's folder."""
        return f"{_IMAGES}/{patient_name(self.patient)}-{self.image}.png"


def _mask_path(name: str, path: str) -> str:
    return f"masks/{name}/{path}"


def _write(planned: _Planned, out: Path, masks: bool) -> tuple[str, str, int]:
    """Draw one image and write it with its masks; the columns that the drawing tells: view, sex and age."""
    phantom = make_findings_phantom(
        planned.severities, seed=planned.seed, patient=planned.patient, image=planned.image, size=planned.size
    )
    (out / planned.path).write_bytes(encode(phantom.image, ".png"))
    if masks:
        for name, mask in {**phantom.masks, "lungs": phantom.lungs}.items():
            (out / _mask_path(name, planned.path)).write_bytes(encode_mask(mask))
    return phantom.view, phantom.sex, phantom.age


def _check(patients: int, test_fraction: float, uncertain: float, missing: float) -> None:
    if patients < 2 or not 0 <= test_fraction < 1:
        msg = f"{patients} patients with {test_fraction} in test make no dataset; give 2 or more and 0 to <1"
        raise UsageError(msg)
    if not (0 <= uncertain <= 1 and 0 <= missing <= 1 and uncertain + missing < 1):
        msg = (
            f"uncertain {uncertain:g} and missing {missing:g} leave no value known. Give shares of the values, 0 or "
            "more, that together are below 1."
        )
        raise UsageError(msg, code="not-a-share")


def _plan(
    patients: int, seed: int, size: int, test_fraction: float, prevalences: Mapping[str, float]
) -> list[_Planned]:
    rng = np.random.default_rng([seed, 0, _PLAN])
    in_test = set(rng.permutation(patients)[: round(test_fraction * patients)].tolist())
    images = rng.choice([1, 2, 3], patients, p=IMAGES_A_PATIENT)
    planned = []
    for patient in range(patients):
        split = "" if not test_fraction else "test" if patient in in_test else "train"
        for image in range(int(images[patient])):
            severities = sample_severities(seed, patient, image, prevalences)
            planned.append(_Planned(seed, size, patient, image, split, severities))
    return sorted(planned, key=lambda one: one.path)


def write_findings_phantoms(
    out: Path,
    *,
    patients: int = 600,
    seed: int = 0,
    size: int = 128,
    test_fraction: float = 0.3,
    prevalences: Mapping[str, float] | None = None,
    uncertain: float = 0.0,
    missing: float = 0.0,
    masks: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> WrittenFindings:
    """Write a dataset of phantoms with several findings an image, the same files whatever the number of workers.

    Images go to ``out/images/<patient>-<k>.png``. ``out/metadata.csv`` has a column a finding: 1, 0, -1 for uncertain
    and empty for missing. ``out/truth.json`` has the severity of every finding present, whatever the table says. Masks
    of the findings present go to ``out/masks/<finding>/``, masks of the lungs to ``out/masks/lungs/``, each under the
    path of its image. Workers are processes that import the calling script again: keep the call under
    ``if __name__ == "__main__"`` there.

    Args:
        out: A folder that does not exist yet or is empty.
        patients: Number of patients; each has 1 to 3 images, 1.5 on average.
        seed: Names the population.
        size: Edge of the square images in pixels.
        test_fraction: Share of the patients in ``test``, from 0 to below 1; the table has no splits where it is 0.
        prevalences: Share of the images with a finding, by its name, in place of the usual `PREVALENCES`.
        uncertain: Share of the table's values, chosen at random, that are uncertain.
        missing: Share of the table's values, chosen at random, that are missing.
        masks: Whether to write masks of findings and lungs.
        workers: Processes to use; all processors by default, 1 for none but this one.
        progress: Told as images are done.

    Raises:
        DataError: ``out`` is not empty, or cannot be written to.
        UsageError: A finding is unknown, or the numbers make no dataset.
    """
    shares = check_prevalences(prevalences or {})
    _check(patients, test_fraction, uncertain, missing)
    plan = _plan(patients, seed, size, test_fraction, shares)
    with filling(out) as part:
        for folder in (_IMAGES, *(_mask_path(name, _IMAGES) for name in (*FINDINGS, "lungs") if masks)):
            (part / folder).mkdir(parents=True)
        shown = []
        with (progress or Progress()).task("Making phantoms", len(plan)) as advance:
            for told in in_processes(partial(_write, out=part, masks=masks), plan, workers):
                shown.append(told)
                advance(1)
        said = [
            read_findings(one.severities, seed, one.patient, one.image, uncertain=uncertain, missing=missing)
            for one in plan
        ]
        table = _table(plan, said, shown)
        truth = {
            "seed": seed,
            "size": size,
            "prevalences": shares,
            "uncertain": uncertain,
            "missing": missing,
            "findings": {one.path: one.severities for one in plan},
            "table": statement(table, plan[-1].path, len(plan)).model_dump(),
        }
        save_json(part / TRUTH, truth, indent=1)
        save_bytes(part / PHANTOMS, table)
    positives = {name: sum(name in one.severities for one in plan) for name in FINDINGS}
    return WrittenFindings(out, len(plan), patients, positives)


def _table(plan: Sequence[_Planned], said: Sequence[Mapping[str, str]], shown: Sequence[tuple[str, str, int]]) -> bytes:
    """The table of images in UTF-8."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    split = ["split"] if plan[0].split else []
    writer.writerow(["path", *FINDINGS, *split, "patient_id", "source", "view", "sex", "age"])
    for one, findings, (view, sex, age) in zip(plan, said, shown, strict=True):
        own = [one.split] if split else []
        known = [findings[name] for name in FINDINGS]
        writer.writerow([one.path, *known, *own, patient_name(one.patient), "phantom", view, sex, age])
    return file.getvalue().encode()
