"""Datasets of phantoms on disk: images by split and label, masks, metadata, truth about injected defects."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hilum.data.readers.text_table import PHANTOMS, TRUTH, statement
from hilum.files import save_bytes, save_json
from hilum.phantoms.defects import Defect, InjectedDefect, PlannedImage, inject, plan_dataset
from hilum.phantoms.filling import filling, in_processes
from hilum.phantoms.image import ENLARGED, brighten, encode, encode_mask, frame, resize, stamp, vary
from hilum.phantoms.radiograph import LABELS, make_phantom
from hilum.progress import Progress

_EDITS = 9


@dataclass(frozen=True)
class WrittenPhantoms:
    """What was written.

    Attributes:
        out: The dataset's folder.
        counts: Number of images by split, then by label as filed.
        patients: Number of patient identifiers.
        defects: The truth about every injected defect, as in ``truth.json``.
    """

    out: Path
    counts: Mapping[str, Mapping[str, int]]
    patients: int
    defects: tuple[InjectedDefect, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(sum(labels.values()) for labels in self.counts.values())


def _write(plan: PlannedImage, out: Path, masks: bool) -> None:
    """Draw one image, apply its edits, and write it with its mask."""
    phantom = make_phantom(plan.truth, seed=plan.seed, patient=plan.patient, image=plan.image, size=plan.size)
    image, truths = phantom.image, [phantom.mask, phantom.lungs]
    rng = np.random.default_rng([plan.seed, plan.patient, _EDITS, plan.image])
    for edit in plan.edits:
        if edit == "marker":
            image = stamp(image, rng)
        elif edit == "frame":
            image = frame(image, rng)
        elif edit == "brightness":
            image = brighten(image)
        elif edit == "size":
            larger = round(ENLARGED * plan.size)
            image = resize(image, larger)
            truths = [resize(mask * np.uint8(255), larger) > 127 for mask in truths]
    if plan.variant:
        image = vary(image, plan.variant)
        if plan.variant != "inverted":
            truths = [vary(mask * np.uint8(255), plan.variant) > 127 for mask in truths]
    quality = 60 if plan.variant == "jpeg" else 95
    files = {plan.path: encode(image, plan.suffix, stored=plan.stored, quality=quality)}
    if masks:
        files[plan.lung_mask_path] = encode_mask(truths[1])
        if plan.truth != LABELS[0]:
            files[plan.mask_path] = encode_mask(truths[0])
    for path, content in files.items():
        (out / path).write_bytes(content)


def _make_folders(out: Path, plan: Sequence[PlannedImage], masks: bool) -> None:
    folders = {p.path.rsplit("/", 1)[0] for p in plan}
    if masks:
        folders |= {p.lung_mask_path.rsplit("/", 1)[0] for p in plan}
        folders |= {p.mask_path.rsplit("/", 1)[0] for p in plan if p.truth != LABELS[0]}
    for folder in folders:
        (out / folder).mkdir(parents=True, exist_ok=True)


def _write_tables(out: Path, plan: Sequence[PlannedImage], truth: Mapping[str, object]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", "split", "patient_id", "source"])
    writer.writerows([p.path, p.label, p.split, p.patient_id, "phantom"] for p in plan)
    table = file.getvalue().encode()
    save_json(out / TRUTH, {**truth, "table": statement(table, plan[-1].path, len(plan)).model_dump()}, indent=1)
    save_bytes(out / PHANTOMS, table)


def write_phantoms(
    out: Path,
    *,
    patients: int = 600,
    seed: int = 0,
    size: int = 128,
    test_fraction: float = 0.3,
    shares: Mapping[str, float] | None = None,
    defects: Sequence[Defect] = (),
    masks: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> WrittenPhantoms:
    """Write a dataset of phantoms, the same files whatever the number of workers.

    Images go to ``out/{train,test}/<label>/<patient>-<k>.png``, masks of the lesions to ``out/masks/`` and masks of
    the lungs to ``out/masks/lungs/`` under the same path, the table of images to ``out/metadata.csv`` and the injected
    defects to ``out/truth.json``.
    Workers are processes that import the calling script again: keep the call under
    ``if __name__ == "__main__"`` there.

    Args:
        out: A folder that does not exist yet or is empty.
        patients: Number of patients; each has 1 to 3 images, 1.5 on average.
        seed: Names the population.
        size: Edge of the square images in pixels.
        test_fraction: Share of each label's patients that goes to ``test``, from 0 to below 1.
        shares: Share of the patients by label, in any unit; equal by default.
        defects: What to inject.
        masks: Whether to write masks of lesions and lungs.
        workers: Processes to use; all processors by default, 1 for none but this one.
        progress: Told as images are done.

    Raises:
        DataError: ``out`` is not empty, or cannot be written to.
        UsageError: The numbers make no dataset, or too small a one for the defects.
    """
    plan = plan_dataset(
        patients=patients,
        seed=seed,
        size=size,
        test_fraction=test_fraction,
        shares=shares or dict.fromkeys(LABELS, 1.0),
    )
    plan, injected = inject(plan, defects, seed)
    plan.sort(key=lambda p: p.path)
    truth = {
        "seed": seed,
        "size": size,
        "defects": [
            {
                "kind": p.kind,
                "defect": str(p.defect),
                "label": p.defect.label,
                "paths": p.paths,
                "details": p.details,
            }
            for p in injected
        ],
    }
    with filling(out) as part:
        _make_folders(part, plan, masks)
        task = partial(_write, out=part, masks=masks)
        with (progress or Progress()).task("Making phantoms", len(plan)) as advance:
            for _ in in_processes(task, plan, workers):
                advance(1)
        _write_tables(part, plan, truth)
    counts = {split: dict(Counter(p.label for p in plan if p.split == split)) for split in ("train", "test")}
    return WrittenPhantoms(out, counts, len({p.patient_id for p in plan}), injected)
