"""Kermany's paediatric radiographs, as Mendeley and Kaggle give them, and the original report's copy of them.

Kermany et al. 2018, "Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning", *Cell*
172:1122-1131. Names of pneumonia are ``person<n>_<virus|bacteria>_<k>``, of normal ``IM-<n>-<k>`` and
``NORMAL2-IM-<n>-<k>``. The copy calls viral pneumonia ``infected/covid`` and bacterial ``infected/non-covid``.
"""

from __future__ import annotations

import re

from hilum.data.readers.public.assembling import Entry
from hilum.data.readers.public.copies import CopyLayout
from hilum.data.readers.public.trees import TreeLayout

ETIOLOGY = {"virus": "viral", "bacteria": "bacterial"}


def _entry(match: re.Match[str]) -> Entry:
    split, folder, patient, kind = match["split"].lower(), match["label"].lower(), match["patient"], match["kind"]
    etiology = ETIOLOGY[kind.lower()] if kind else folder
    split = {"validation": "val", "valid": "val"}.get(split, split)
    return Entry(match[0], folder, split, patient, extra={"etiology": etiology})


KERMANY = TreeLayout(
    "kermany",
    (
        r"(?:.*/)?(?:train|test)/PNEUMONIA/person\d+_(?:virus|bacteria)_\d+[^/]*",
        r"(?:.*/)?(?:train|test)/NORMAL/(?:NORMAL2-)?IM-\d+-\d+[^/]*",
    ),
    r"(?:.*/)?(?P<split>train|test|val|valid|validation)/(?P<label>NORMAL|PNEUMONIA)/"
    r"(?P<patient>person\d+_(?P<kind>virus|bacteria)|(?:NORMAL2-)?IM-\d+)_?[^/]*",
    _entry,
    repeated=r"(?:.*/)?chest_xray/chest_xray/.*",
).layout()

KERMANY_150 = CopyLayout(
    "kermany-150", ("path", "split", "label", "etiology", "original_name"), "IM-", "covid"
).layout()
