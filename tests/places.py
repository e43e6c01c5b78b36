"""Where tests find what lies outside the packages: real radiographs, which may be absent, the studies, shared files."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"
REAL = ROOT.parent / "shared" / "data"
DARKCOVIDNET = REAL / "darkcovidnet"
with_darkcovidnet = pytest.mark.skipif(
    not DARKCOVIDNET.is_dir(), reason="the real radiographs (../shared/data/darkcovidnet) are not here"
)


def shared_folder(factory):
    """The temporary folder of all processes of the tests.

    Args:
        factory: The fixture ``tmp_path_factory``.
    """
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
