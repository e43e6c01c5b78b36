"""Mixup: two images at once, with the labels of both."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from hilum.models.registry import build_classifier
from hilum.training.augmentation import Mix, draw_mix
from hilum.training.loss import LossFunction
from hilum.training.plan import TrainingPlan

SEED = ("normal", "infected/covid", "infected/non-covid")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_shares_follow_the_beta_distribution_and_partners_are_a_permutation():
    draws = [draw_mix(0.3, 8, (0, step), generator(step)) for step in range(400)]
    assert stats.kstest([mix.share for mix in draws], stats.beta(0.3, 0.3).cdf).pvalue > 0.01
    assert all(sorted(mix.partner.tolist()) == list(range(8)) for mix in draws)


def test_nothing_asked_nothing_drawn():
    assert draw_mix(0, 8, (0, 0), generator()) is None


def test_images_are_mixed_by_their_share():
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    mixed = Mix(torch.tensor([1, 0]), 0.75).apply(images)
    torch.testing.assert_close(mixed.flatten(), torch.tensor([0.25, 0.75]))


def test_the_loss_is_that_of_mixed_targets():
    """As PyTorch's own cross-entropy takes them: probabilities instead of an index."""
    torch.manual_seed(0)
    network = build_classifier("flat", "compact", SEED, 32, width=4).eval()
    images, targets = torch.randn(6, 1, 32, 32), torch.tensor([0, 1, 2, 0, 2, 1])
    mix = Mix(torch.tensor([3, 2, 5, 0, 1, 4]), 0.7)
    loss = LossFunction(network, TrainingPlan(), targets.numpy(), SEED)(network, images, targets, mix)
    soft = 0.7 * nn.functional.one_hot(targets, 3) + 0.3 * nn.functional.one_hot(targets[mix.partner], 3)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(network(images), soft))


def test_the_second_stage_of_a_cascade_only_sees_mixes_of_what_lies_below_it():
    network = build_classifier("cascade", "compact", SEED, 32, width=4)
    seen = []
    network.stages[1].register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    targets = torch.tensor([0, 1, 2, 1, 2, 0])
    mix = Mix(torch.tensor([1, 0, 3, 4, 2, 5]), 0.5)
    loss_function = LossFunction(network, TrainingPlan(), targets.numpy(), SEED)
    loss_function(network, torch.randn(6, 1, 32, 32), targets, mix)
    assert seen == [3]  # 2 with 3, 3 with 4, 4 with 2; the others have a normal in them


@pytest.mark.parametrize("alpha", [0.1, 1.0, 5.0])
def test_the_same_step_draws_the_same(alpha):
    first, second = (draw_mix(alpha, 16, (3, 7), generator(9)) for _ in range(2))
    assert first.share == second.share
    np.testing.assert_array_equal(first.partner, second.partner)
