"""Several networks that are asked together."""

import torch

from hilum.models.registry import build_classifier
from hilum.models.stages import Ensemble
from hilum.training.loss import LossFunction
from hilum.training.plan import TrainingPlan

SEED = ("normal", "infected/covid", "infected/non-covid")


def test_an_ensemble_answers_with_the_mean_of_its_members_probabilities():
    network = build_classifier("flat", "compact", SEED, 32, members=3, width=4).eval()
    images = torch.randn(5, 1, 32, 32)
    assert isinstance(network, Ensemble)
    mean = torch.stack([member(images).exp() for member in network.members]).mean(dim=0)
    torch.testing.assert_close(network(images).exp(), mean)
    assert not torch.allclose(network.members[0](images), network.members[1](images))


def test_each_member_learns_from_its_own_loss():
    torch.manual_seed(0)
    network = build_classifier("flat", "compact", SEED, 32, members=2, width=4)
    images, targets = torch.randn(6, 1, 32, 32), torch.tensor([0, 1, 2, 0, 2, 1])
    loss_function = LossFunction(network, TrainingPlan(), targets.numpy(), SEED)
    together = loss_function(network, images, targets)
    together.backward()
    alone = build_classifier("flat", "compact", SEED, 32, width=4)
    alone.load_state_dict(network.members[1].state_dict())
    loss = LossFunction(alone, TrainingPlan(), targets.numpy(), SEED)(alone, images, targets)
    loss.backward()
    for ours, theirs in zip(network.members[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert loss_function.members == 2


def test_a_cascade_may_have_several_networks_for_each_decision():
    network = build_classifier("cascade", "compact", SEED, 32, members=2, width=4).eval()
    assert [len(stage.members) for stage in network.stages] == [2, 2]
    torch.testing.assert_close(network(torch.randn(3, 1, 32, 32)).exp().sum(dim=1), torch.ones(3))
