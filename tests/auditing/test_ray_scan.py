"""An audit whose files are opened by Ray finds what the local one finds."""

from contextlib import nullcontext

import pytest

from hilum.auditing.audit import audit
from hilum.data.readers.read import read_table
from hilum.errors import EngineError, UsageError
from hilum.phantoms.generate import write_phantoms


def test_an_engine_that_is_not_there(tmp_path):
    with pytest.raises(UsageError):
        audit(tmp_path, engine="spark")
    with pytest.raises(UsageError):
        audit(tmp_path, address="127.0.0.1:6379")


def test_nodes_are_asked_for_the_files_before_any_is_opened(write_dataset, monkeypatch):
    table = read_table(write_dataset())
    without = EngineError("", code="node-without-data")
    asked = []

    def check(cluster, address, wanted):
        asked.append((cluster, address, wanted.image))
        raise without

    monkeypatch.setattr("hilum.auditing.audit.check_engine", lambda *_: None)
    monkeypatch.setattr("hilum.auditing.audit.connect", lambda *_, store: nullcontext("cluster"))
    monkeypatch.setattr("hilum.auditing.audit.check_nodes", check)
    with pytest.raises(EngineError) as found:
        audit(table, engine="ray", address="10.0.0.1:6379")
    assert found.value is without
    assert asked == [("cluster", "10.0.0.1:6379", str(table.file(table.rows[0])))]


@pytest.mark.peers
def test_the_audit_is_that_of_one_process(tmp_path):
    write_phantoms(tmp_path / "images", patients=40, size=64, masks=False, workers=1)
    (min((tmp_path / "images").rglob("*.png"))).write_bytes(b"none")
    local, other = audit(tmp_path / "images"), audit(tmp_path / "images", engine="ray")
    assert local.report.unreadable
    assert other.report.to_json() == local.report.to_json()
    assert (other.scan.thumbnails == local.scan.thumbnails).all()
    assert other.scan.pixels == local.scan.pixels
