"""MedMNIST: a 2-D set in one ``.npz`` file, with the arrays ``train_images``, ``train_labels`` and so on.

Yang et al. 2023, "MedMNIST v2", *Sci. Data* 10:41. Images are (N, S, S) or (N, S, S, 3) bytes with S of 28, 64, 128 or
224; labels are (N, 1), of chestmnist (N, 14). Meanings of labels are by the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.data.dataset import Dataset
from hilum.data.images import SMALLEST_SIDE
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble
from hilum.data.readers.public.extraction import extracted
from hilum.data.readers.public.tables import files_like
from hilum.errors import TableError

SPLITS = ("train", "val", "test")
NAME = re.compile(r"([a-z]+mnist)(?:_(?:64|128|224))?", re.IGNORECASE)
CLASSES = {
    "pneumoniamnist": "normal pneumonia",
    "chestmnist": "atelectasis cardiomegaly effusion infiltration mass nodule pneumonia pneumothorax consolidation "
    "edema emphysema fibrosis pleural_thickening hernia",
    "breastmnist": "malignant normal_or_benign",
    "octmnist": "choroidal_neovascularization diabetic_macular_edema drusen normal",
    "pathmnist": "adipose background debris lymphocytes mucus smooth_muscle normal_colon_mucosa "
    "cancer-associated_stroma colorectal_adenocarcinoma_epithelium",
    "dermamnist": "actinic_keratoses_and_intraepithelial_carcinoma basal_cell_carcinoma benign_keratosis-like_lesions "
    "dermatofibroma melanoma melanocytic_nevi vascular_lesions",
    "bloodmnist": "basophil eosinophil erythroblast immature_granulocytes lymphocyte monocyte neutrophil platelet",
    "tissuemnist": "collecting_duct_or_connecting_tubule distal_convoluted_tubule glomerular_endothelial_cells "
    "interstitial_endothelial_cells leukocytes podocytes proximal_tubule_segments thick_ascending_limb",
    "retinamnist": "grade_0 grade_1 grade_2 grade_3 grade_4",
    **dict.fromkeys(
        ("organamnist", "organcmnist", "organsmnist"),
        "bladder femur-left femur-right heart kidney-left kidney-right liver lung-left lung-right pancreas spleen",
    ),
}
Arrays = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]


def _file(data: Path) -> Path | None:
    if data.is_file():
        return data if data.suffix.lower() == ".npz" else None
    found = [file for file in files_like(data, ("*.npz",)) if file.parent == data and NAME.fullmatch(file.stem)]
    return found[0] if len(found) == 1 else None


def _recognise(data: Path) -> str | None:
    file = _file(data)
    try:
        with ZipFile(file or "") as packed:
            names = set(packed.namelist())
    except (OSError, BadZipFile):
        return None
    wanted = {f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels")}
    return f"{file.name} with {', '.join(sorted(wanted))}" if file and wanted <= names else None


def _read(data: Path, options: ReadOptions) -> Dataset:
    file = _file(data)
    if file is None or _recognise(data) is None:
        msg = (
            f"{data}: --layout medmnist needs one .npz file with train_images, train_labels and so on. Give that file."
        )
        raise TableError(msg, code="not-this-layout", path=data)
    arrays = _load(file)
    match = NAME.fullmatch(file.stem)
    names = [name.replace("_", " ") for name in CLASSES.get(match[1].lower() if match else "", "").split()]
    several = arrays["train"][1].shape[1] > 1
    most = arrays["train"][1].shape[1] if several else max(int(labels.max()) for _, labels in arrays.values()) + 1
    remarks = []
    if len(names) < most:
        remarks.append(f"WARNING: {file.stem} is no known name of a set: classes are called by their numbers")
        names = [f"class {number}" for number in range(most)]
    folder = extracted(file, partial(_write, arrays))
    remarks.append(f"images were written as PNG files into {folder}")
    side = arrays["train"][0].shape[1]
    if side < SMALLEST_SIDE:
        remarks.append(f"each pixel of the {side}x{side} images is written as 2x2, the least size that hilum reads")
    entries = _entries(arrays, names, several=several)
    table = assemble("medmnist", folder, entries, options, findings=names if several else (), remarks=remarks)
    return replace(table, notes=(f"{file.name}: {table.notes[0]}", *table.notes[1:]))


def _load(file: Path) -> Arrays:
    """Images and labels by split.

    Raises:
        TableError: An array is damaged or has another shape.
    """
    arrays: Arrays = {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            for split in SPLITS:
                images, labels = stored[f"{split}_images"], stored[f"{split}_labels"]
                arrays[split] = images, labels.reshape(len(labels), -1).astype(np.int64)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        msg = f"{file}: cannot be read ({error}). Download it again."
        raise TableError(msg, code="unreadable", path=file) from error
    for split, (images, labels) in arrays.items():
        flat = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if not flat or images.dtype != np.uint8 or len(images) != len(labels) or not len(images):
            msg = (
                f"{file}: {split}_images has the shape {images.shape} of {images.dtype}, and {split}_labels "
                f"{labels.shape}. A 2-D set of MedMNIST has (N, S, S) or (N, S, S, 3) bytes; 3-D sets are not read."
            )
            raise TableError(msg, code="unknown-shape", path=file)
    return arrays


def _write(arrays: Arrays, folder: Path) -> None:
    for split, (images, _) in arrays.items():
        place = folder / split
        place.mkdir()
        twice = images.shape[1] < SMALLEST_SIDE
        for number, image in enumerate(images):
            larger: Any = image.repeat(2, axis=0).repeat(2, axis=1) if twice else image
            Image.fromarray(larger).save(place / f"{split}-{number:06d}.png")


def _entries(arrays: Arrays, names: list[str], *, several: bool) -> Iterator[Entry]:
    for split, (_, labels) in arrays.items():
        for number, line in enumerate(labels):
            values = tuple(float(value) for value in line) if several else ()
            label = "" if several else names[int(line[0])]
            yield Entry(f"{split}/{split}-{number:06d}.png", label, split, findings=values)


MEDMNIST = Layout("medmnist", _recognise, _read)
