"""What can be checked in a moment before a training starts: who and what is on two sides, and whose images they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.audit.findings import Finding
from hilum.audit.provenance import Match, findings, recognise_thumbnails
from hilum.audit.survey import SIDE
from hilum.data.cache import Images
from hilum.data.splits import UNUSED

LOOKED_AT = 400  # images compared with known sets, spread over all labels


def cheap_checks(images: Images, sides: Sequence[str], what: str = "sides of the splits") -> str:
    """Look at what is decoded already; a second at most, however many images there are.

    Args:
        images: N decoded images.
        sides: The part that each belongs to, N of them; ``unused`` counts for none.
        what: What the parts are called.

    Returns:
        One line for people.
    """
    rows = images.table.rows
    people = _on_several((row.patient_id for row in rows), sides)
    copies = _on_several(images.alike(), sides)
    if people or copies:
        found = " and ".join(
            f"{count} {name}{'s' if count != 1 else ''}"
            for count, name in ((people, "patient"), (copies, "identical picture"))
            if count
        )
        told = f"WARNING: {found} on two {what}, which makes results look better than they are"
    else:
        told = f"no patient and no identical picture on two {what}"
    if not images.table.patients_known:
        told += " as far as patients are known"
    return f"checked: {told}; {_whence(images)}. More: hilum audit DATA"


def _on_several(names: Iterable[object], sides: Sequence[str]) -> int:
    found = defaultdict(set)
    for name, side in zip(names, sides, strict=True):
        if name != "" and side != UNUSED:
            found[name].add(side)
    return sum(len(of) > 1 for of in found.values())


def recognise_sample(images: Images) -> tuple[list[int], list[Match]]:
    """Rows spread over all labels, and the public sets that these come from; matches count places in the sample."""
    chosen = _spread([row.label for row in images.table.rows])
    return chosen, recognise_thumbnails(_thumbnails(images, chosen), [images.table.rows[i].label for i in chosen])


def _whence(images: Images) -> str:
    chosen, matches = recognise_sample(images)
    total = len(images.table)
    looked = f"{len(chosen)} of {total:,} images" if len(chosen) < total else f"all {total:,} images"
    if not matches:
        return f"{looked} compared with known public sets, none recognised"
    told = [f"{match.matched} {_are(match)} {match.known.name}" for match in matches]
    told += [_short(finding) for finding in findings(matches) if finding.severity != "info"]
    return f"{looked} compared with known public sets: {', '.join(told)}"


def _are(match: Match) -> str:
    return "is from" if match.matched == 1 else "are from"


def _short(finding: Finding) -> str:
    if finding.severity == "error":
        return f"WARNING: '{finding.evidence['label']}' cannot be COVID-19"
    return "WARNING: labels come from different sets"


def _spread(labels: Sequence[str]) -> list[int]:
    """Up to `LOOKED_AT` positions, as many of each label, evenly spaced."""
    members = defaultdict(list)
    for position, label in enumerate(labels):
        members[label].append(position)
    each = max(1, LOOKED_AT // len(members))
    chosen = []
    for of in members.values():
        places = np.unique(np.linspace(0, len(of) - 1, min(each, len(of))).round().astype(int))
        chosen += [of[place] for place in places]
    return sorted(chosen)


def _thumbnails(images: Images, chosen: Sequence[int]) -> NDArray[np.uint8]:
    """What is decoded, as large as a survey's thumbnails; an equalised image is recognised as well."""
    pixels = images.pixels[images.positions[np.asarray(chosen)]]
    size = (SIDE, SIDE)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in pixels])
