"""Commands that are killed, and data of theirs."""

import pytest

from kill_points import Killer


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killer")
    killer = Killer(HILUM_CACHE=str(folder / "cache"), HILUM_LEDGER=str(folder / "ledger.jsonl"))
    yield killer
    killer.close()


@pytest.fixture
def data(write_dataset):
    """A table whose column of patients has to be named, so that resuming has to remember that."""
    root = write_dataset(patients=10, splits=("train", "test"))
    table = root / "metadata.csv"
    table.write_text(table.read_text().replace("patient_id", "who"))
    return root
