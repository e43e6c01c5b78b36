"""Snapshots hold what matters of a text, and nothing that differs from machine to machine."""

import pytest

from wording import HERE, normalised, numbers, read_entries


def test_what_differs_between_machines_is_left_out(tmp_path):
    text = f"{tmp_path}/data/a.png: SHA-256 {'0a' * 32}, read in 1.25 s by process 4711 of {HERE.parent}/src \n"
    said = normalised(text, tmp_path.parent)
    assert said == "TMP/data/a.png: SHA-256 HASH, read in N s by process N of HILUM/src"


def test_numbers_are_those_that_are_stated():
    assert numbers("12 of 51 images (23.5 %) of COVID-19, line 3: x2") == {"12", "51", "23.5", "3"}


def test_another_wording_a_new_one_and_a_missing_one_fail(tmp_path, request, tmp_path_factory, monkeypatch):
    """The fixture itself, with a file of two entries."""
    import wording

    monkeypatch.setattr(wording, "KEPT", tmp_path)
    test = f"test_wording.py::{request.node.name}"
    (tmp_path / "top.txt").write_text(f"## {test}\nfirst\n\n## {test} -- 2\nsecond\n")
    assert read_entries(tmp_path / "top.txt") == {test: "first", f"{test} -- 2": "second"}
    monkeypatch.setattr(request.config.option, "renew_snapshots", False)

    def compared(*texts):
        fixture = wording.snapshot.__wrapped__(request, tmp_path_factory)
        compare = next(fixture)
        for text in texts:
            compare(text)
        next(fixture, None)

    compared("first", "second", "first")
    for texts in (("first",), ("first", "other"), ("second", "first"), ("first", "second", "third")):
        with pytest.raises(AssertionError):
            compared(*texts)
