"""Inputs that were once answered wrongly, and some that are damaged anew: a sound result, or one of hilum's errors."""

from random import Random

import pytest

from fuzzing.targets import TARGETS, corpus

TRIED = {"dicom": 60, "cache": 60}
KEPT = [file for name in TARGETS for file in corpus(name)]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=TARGETS)
def target(request):
    if request.param == "dicom":
        pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
    return request.param


def test_sound_inputs_are_accepted(target):
    make, seeds, _ = TARGETS[target]
    with make() as run:
        assert all(run(content) for content in seeds())


@pytest.mark.parametrize("file", KEPT, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_what_was_once_answered_wrongly_is_not_any_more(file):
    if file.parent.name == "dicom":
        pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
    with TARGETS[file.parent.name][0]() as run:
        run(file.read_bytes())


def test_damaged_inputs_are_refused_or_sound(target, capfd):
    make, seeds, mutate = TARGETS[target]
    random, sound, accepted = Random(0), seeds(), 0
    with make() as run:
        tried = TRIED.get(target, 300)
        for _ in range(tried):
            accepted += run(mutate(random.choice(sound), sound, random))
    assert accepted < tried  # something was damaged indeed


def test_a_target_finds_what_is_answered_wrongly(monkeypatch):
    """A reader of ledgers that takes any line."""
    import json

    from hilum.evaluation import ledger

    make, seeds, _ = TARGETS["ledger"]
    (sound,) = seeds()

    def taking_any(file, number, line, before):
        found = json.loads(line)
        return ledger.KINDS.get(found["kind"], ledger.Entry).model_validate(found)

    monkeypatch.setattr(ledger, "_entry", taking_any)
    with make() as run, pytest.raises((AssertionError, ValueError)):
        run(sound.replace(b'"n":1', b'"n":1,"n":1'))
