"""Killed before any of its writes, those of the cache too, and called again, a training ends as if nothing had been.

In CI before every fourth.
"""

import pytest

from kill_points import kill_training
from sizes import sized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_training_goes_on_from_every_write(killer, data, tmp_path):
    _, failed = kill_training(killer, data, tmp_path, lambda events: range(1, len(events) + 1, sized(4, 1)), cold=True)
    assert not failed
