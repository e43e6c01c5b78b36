"""Every kind of defect, injected by `hilum phantoms` as anybody can: found, as bad as it is; and nothing in a clean
set.

How often, over many seeds and in copies of real images, is measured by ``studies/audit_power.py``.
"""

import pytest

from hilum.auditing.audit import audit
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import scan
from hilum.cli.demo import PATIENTS
from hilum.data.readers.read import read_table
from hilum.phantoms import Defect, write_phantoms
from sizes import sized

COVID = "infected/covid"
EXPECTED = {
    f"marker:{COVID}": ("warning", "shortcuts", "letters"),
    f"frame:{COVID}": ("warning", "shortcuts", "frame"),
    f"brightness:{COVID}": ("warning", "shortcuts", "histogram"),
    f"format:{COVID}": ("error", "shortcuts", "container"),
    f"size:{COVID}": ("error", "shortcuts", "dimensions"),
    f"bytes:{COVID}": ("error", "shortcuts", "size on disk"),
    "patient:4": ("error", "patients", None),
    "duplicates:24": ("error", "duplicates", None),
}


def injected(folder, *defects, seed=31):
    chosen = [Defect.parse(text) for text in defects]
    written = write_phantoms(folder, patients=170, seed=seed, size=96, masks=False, defects=chosen, workers=1)
    return audit(folder), written


def worse_than_information(found):
    return [(f.severity, f.check, getattr(f.evidence, "probe", None)) for f in found.findings if f.severity != "info"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [31, 32])
def test_a_clean_set_has_no_warning_and_no_error(tmp_path, seed):
    assert worse_than_information(injected(tmp_path / "clean", seed=seed)[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("defect", EXPECTED, ids=lambda defect: defect.split(":")[0])
def test_what_is_planted_is_found_and_as_bad_as_it_is(tmp_path, defect):
    found, written = injected(tmp_path / "injected", defect)
    assert EXPECTED[defect] in worse_than_information(found)
    if defect.startswith("duplicates"):
        paths = [row.path for row in found.scan.table.rows]
        pairs = {frozenset((paths[pair.first], paths[pair.second])) for pair in found.duplicates.pairs}
        details = written.defects[0].details
        assert {detail["variant"] for detail in details} == {
            "exact",
            "resized",
            "jpeg",
            "cropped",
            "mirrored",
            "inverted",
        }
        missed = [d["variant"] for d in details if frozenset((d["path"], d["original"])) not in pairs]
        assert missed == []


@pytest.mark.slow
def test_in_sets_as_large_as_the_demos_no_two_patients_are_one_picture(tmp_path):
    write_phantoms(tmp_path / "phantoms", patients=sized(300, PATIENTS), seed=1, masks=False)
    seen = scan(read_table(tmp_path / "phantoms"))
    found = find_copies(seen.thumbnails)
    owner = [row.patient_id for row in seen.table.rows]
    assert [(owner[i], owner[j]) for i, j in zip(found.first, found.second, strict=True) if owner[i] != owner[j]] == []
