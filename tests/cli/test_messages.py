"""What becomes of errors that no part of hilum raises."""

import errno
import os

import numpy as np
import pytest
import torch

from hilum.cli.arguments import message_of


def refused_by_the_system():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize("ask", [lambda: np.empty(2**60, np.uint8), lambda: torch.empty(2**55), refused_by_the_system])
def test_memory_that_there_is_not_is_one_message(ask):
    with pytest.raises((MemoryError, RuntimeError, OSError)) as raised:
        ask()
    training, code = message_of(raised.value, ["train", "data"])
    audit, _ = message_of(raised.value, ["audit", "data"])
    assert (code, "\n" in training) == (1, False)
    assert "training.batch_size" in training
    assert "training.batch_size" not in audit


def test_a_fault_of_hilum_keeps_its_traceback():
    assert message_of(RuntimeError("shapes differ"), ["train"]) == (None, 1)
