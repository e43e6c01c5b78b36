"""Checkpoints: everything back as it was, nothing pickled, nothing foreign."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from hilum.errors import CheckpointError
from hilum.models.compact import Compact
from hilum.training.checkpoints import load_checkpoint, load_weights, save_checkpoint, weights_sha256


def checkpoint_of(network):
    return {"network": network.state_dict()}


def test_nested_values_come_back_as_they_were(tmp_path):
    last = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    given = {
        "epoch": 3,
        "text": "a/b",
        "none": None,
        "flag": True,
        "lists": [1, (2.5, [torch.tensor(7)])],
        "state": {0: {"exp_avg": last, "step": torch.tensor(9.0)}, 1: {}},
        "bfloat": torch.randn(3).bfloat16(),
    }
    save_checkpoint(tmp_path / "c.safetensors", given)
    back = load_checkpoint(tmp_path / "c.safetensors")
    assert back["lists"][1][1][0].item() == 7
    assert isinstance(back["lists"][1], tuple)
    assert torch.equal(back["state"][0]["exp_avg"], last)
    assert back["state"][0]["exp_avg"].stride() == last.stride()
    assert torch.equal(back["bfloat"], given["bfloat"])
    plain = ("epoch", "text", "none", "flag")
    assert [back[key] for key in plain] == [given[key] for key in plain]
    assert list(back["state"]) == [0, 1]


def test_what_would_need_pickled_code_is_refused(tmp_path, refuses):
    with refuses(CheckpointError, "unstorable"):
        save_checkpoint(tmp_path / "c.safetensors", {"callbacks": {"x": {1}}})
    assert not list(tmp_path.iterdir())


def test_reading_never_unpickles(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "c.safetensors", checkpoint_of(Compact(3, width=4)))
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *a, **k: pytest.fail("unpickled"))
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("torch.load"))
    assert "head.bias" in load_checkpoint(tmp_path / "c.safetensors")["network"]


def test_weights_come_back_and_their_hash_knows_every_bit(tmp_path):
    torch.manual_seed(0)
    one, other = Compact(3, width=4), Compact(3, width=4)
    save_checkpoint(tmp_path / "c.safetensors", checkpoint_of(one))
    assert weights_sha256(one) != weights_sha256(other)
    load_weights(other, tmp_path / "c.safetensors")
    assert weights_sha256(one) == weights_sha256(other)
    other.head.bias.data[0] = torch.nextafter(other.head.bias.data[0], torch.tensor(9.0))
    assert weights_sha256(one) != weights_sha256(other)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Compact(3, width=8), "has shape"),
        (Compact(3, width=4, blocks=(1, 1)), "foreign"),
        (Compact(2, width=4), "head"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, network, expected, refuses):
    save_checkpoint(tmp_path / "c.safetensors", checkpoint_of(Compact(3, width=4)))
    before = weights_sha256(network)
    with refuses(CheckpointError, "other-architecture"):
        load_weights(network, tmp_path / "c.safetensors")
    assert weights_sha256(network) == before


@pytest.mark.timeout(20)
def test_damaged_missing_and_foreign_files_are_told_apart(tmp_path, refuses):
    path = tmp_path / "c.safetensors"
    network = Compact(3, width=4)
    with refuses(CheckpointError, "missing"):
        load_weights(network, path)
    save_checkpoint(path, checkpoint_of(network))
    path.write_bytes(path.read_bytes()[:1000])
    with refuses(CheckpointError, "damaged"):
        load_weights(network, path)
    save_file({"a": torch.zeros(1)}, path)
    with refuses(CheckpointError, "foreign"):
        load_weights(network, path)


@pytest.mark.timeout(30)
def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "best.safetensors")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "best.safetensors")
