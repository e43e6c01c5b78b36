"""The cascade of Fig. 2: probabilities of all labels, and stages that see only what reaches them."""

import pytest
import torch
from torch import nn

from hilum.errors import RecipeError
from hilum.models.registry import build_classifier
from hilum.training.loss import LossFunction
from hilum.training.plan import TrainingPlan

SEED = ("normal", "infected/covid", "infected/non-covid")
DEEP = ("n", "a/b/c", "a/b/d", "a/e", "f/g", "f/h", "f/i")


def cascade(labels=SEED, name="compact", **options):
    torch.manual_seed(0)
    return build_classifier("cascade", name, labels, 32, **({"width": 4} | options))


@pytest.mark.parametrize(("labels", "stages"), [(SEED, 2), (DEEP, 4)])
def test_probabilities_of_all_labels_sum_to_one(labels, stages):
    network = cascade(labels).eval()
    assert len(network.stages) == stages
    output = network(torch.randn(5, 1, 32, 32))
    assert output.shape == (5, len(labels))
    torch.testing.assert_close(output.exp().sum(dim=1), torch.ones(5))


def test_a_probability_is_the_product_of_the_decisions_that_lead_to_it():
    network = cascade().eval()
    images = torch.randn(5, 1, 32, 32)
    first, second = (stage(images).exp() for stage in network.stages)
    expected = torch.stack([first[:, 0], first[:, 1] * second[:, 0], first[:, 1] * second[:, 1]], dim=1)
    torch.testing.assert_close(network(images).exp(), expected)


def test_every_network_of_the_registry_can_be_cascaded():
    assert cascade(name="vgg16-bn", width=0.02).eval()(torch.randn(2, 1, 32, 32)).shape == (2, 3)


class Witness(nn.Module):
    """Remembers the mean brightness of every image that it was given."""

    def __init__(self, n_labels):
        super().__init__()
        self.linear = nn.Linear(1, n_labels)
        self.seen = []

    def forward(self, images):
        means = images.mean(dim=(1, 2, 3))
        self.seen += means.tolist()
        return self.linear(means[:, None]).log_softmax(dim=1)


def test_the_second_stage_never_sees_a_normal_image():
    network = cascade()
    network.stages = nn.ModuleList([Witness(2), Witness(2)])
    targets = torch.tensor([0, 1, 2, 0, 2, 1, 0])
    images = targets.float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8)  # as bright as their label's number
    loss_function = LossFunction(network, TrainingPlan(), targets.numpy(), SEED)
    loss_function(network, images, targets).backward()
    assert sorted(set(network.stages[0].seen)) == [0, 1, 2]
    assert sorted(network.stages[1].seen) == [1, 1, 2, 2]


def test_a_batch_without_infected_images_leaves_the_second_stage_as_it_is():
    network = cascade().train()
    targets = torch.zeros(6, dtype=torch.int64)
    loss_function = LossFunction(network, TrainingPlan(), torch.tensor([0, 1, 2]).numpy(), SEED)
    before = {key: value.clone() for key, value in network.stages[1].state_dict().items()}
    loss_function(network, torch.randn(6, 1, 32, 32), targets).backward()
    assert all(parameter.grad is None for parameter in network.stages[1].parameters())
    assert all(torch.equal(before[key], value) for key, value in network.stages[1].state_dict().items())


def test_the_loss_is_the_sum_of_the_decisions_losses():
    network = cascade().eval()
    images, targets = torch.randn(6, 1, 32, 32), torch.tensor([0, 1, 2, 0, 2, 1])
    loss = LossFunction(network, TrainingPlan(), targets.numpy(), SEED)(network, images, targets)
    first = -network.stages[0](images)[torch.arange(6), (targets > 0).long()].mean()
    infected = targets > 0
    second = -network.stages[1](images[infected])[torch.arange(4), targets[infected] - 1].mean()
    torch.testing.assert_close(loss, first + second)


def test_flat_labels_are_refused_with_how_to_nest(refuses):
    with refuses(RecipeError, "flat-labels"):
        cascade(("a", "b", "c"))
