"""The tuberculosis sets of Shenzhen and Montgomery County: the last digit of a file's name is its label.

Jaeger et al. 2014, *Quant. Imaging Med. Surg.* 4:475-477. A text of each image beside ``CXR_png``, in
``ClinicalReadings``, says sex and age: ``male 45yrs`` or ``Patient's Sex: F`` and ``Patient's Age: 040Y``. Both sets in
one folder are one dataset with two sources.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.file_search import files_below
from hilum.data.readers.public.assembling import Entry, Layout, assemble
from hilum.data.readers.public.glances import image_samples
from hilum.data.readers.public.tables import years_of
from hilum.errors import TableError
from hilum.files import read_text

PREFIXES = {"shenzhen": "CHNCXR", "montgomery": "MCUCXR"}
LABELS = {"0": "normal", "1": "tuberculosis"}
SEX = re.compile(r"\b(?:sex:\s*)?(female|male|f|m)\b", re.IGNORECASE)
AGE = re.compile(r"(\d{1,3})\s*(y|m|d)", re.IGNORECASE)
LONGEST = 2**14


IMAGE = re.compile(r"(?:.*/)?(?:CXR_png|images)/((CHNCXR|MCUCXR)_\d{4}_([01]))\.png", re.IGNORECASE)


def _recognise(prefix: str, data: Path) -> str | None:
    matches = (IMAGE.fullmatch(path) for path in image_samples(data))
    found = next((match[0] for match in matches if match and match[2].upper() == prefix), None)
    return f"files such as {found}" if found else None


def _read(name: str, data: Path, options: ReadOptions) -> Dataset:
    """Read one of the sets, or both where they lie in one folder."""
    files = list(files_below(data))
    named = [match for path in files if (match := IMAGE.fullmatch(path))]
    if not named:
        msg = (
            f"{data}: --layout {name} needs CXR_png/{PREFIXES[name]}_0001_0.png and so on. Give the folder of CXR_png."
        )
        raise TableError(msg, code="not-this-layout", path=data)
    sources = {prefix: key for key, prefix in PREFIXES.items()}
    readings = {Path(path).stem: path for path in files if path.lower().endswith(".txt")}
    entries = (
        Entry(
            match[0],
            LABELS[match[3]],
            source=sources[match[2].upper()],
            extra=_reading(data, readings.get(match[1], "")),
        )
        for match in named
    )
    return assemble(name, data, entries, options)


def _reading(data: Path, path: str) -> dict[str, str]:
    """Sex and age as the clinical reading states them."""
    try:
        text = read_text(data / path, LONGEST, encoding="latin-1") if path else ""
    except OSError:
        text = ""
    sex, age = SEX.search(text), AGE.search(text)
    return {"sex": sex[1][0].upper() if sex else "", "age": years_of(f"{age[1]}{age[2]}") if age else ""}


SHENZHEN, MONTGOMERY = (
    Layout(name, partial(_recognise, prefix), partial(_read, name)) for name, prefix in PREFIXES.items()
)
