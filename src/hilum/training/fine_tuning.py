"""Fine-tuning: learning rates by layer, frozen stages, and first steps in which only the head learns."""

from __future__ import annotations

from torch import nn

from hilum.errors import RecipeError
from hilum.models.layer_groups import layer_groups
from hilum.training.plan import TrainingPlan


def learning_groups(network: nn.Module, plan: TrainingPlan) -> list[dict[str, object]]:
    """What an optimiser is given: parameters and their learning rates; the first group has the recipe's.

    Args:
        network: Its layers are grouped by `hilum.models.layer_groups.layer_groups`.
        plan: The group before the head has `plan.lr`, each one closer to the input `plan.layer_decay` times that of the
            next (Howard and Ruder 2018, "Universal Language Model Fine-tuning", *ACL*), the head `plan.lr_head`.
            Frozen groups are left out.

    Raises:
        RecipeError: More groups are to be frozen than there are.
    """
    check_frozen(network, plan)
    if not (plan.lr_head or plan.layer_decay < 1 or plan.frozen_stages):
        return [{"params": list(network.parameters())}]
    *body, head = layer_groups(network)
    groups = [
        {
            "params": [parameter for module in group for parameter in module.parameters()],
            "lr": plan.lr * plan.layer_decay**distance,
        }
        for distance, group in enumerate(reversed(body[plan.frozen_stages :]))
    ]
    return [*groups, {"params": [p for module in head for p in module.parameters()], "lr": plan.lr_head or plan.lr}]


def check_frozen(network: nn.Module, plan: TrainingPlan) -> None:
    """Find a number of frozen stages that a network does not have.

    Raises:
        RecipeError: It does not.
    """
    if plan.frozen_stages and plan.frozen_stages > (count := len(layer_groups(network)) - 1):
        msg = (
            f"training.frozen_stages = {plan.frozen_stages}: the network has {count} stages before its head. Give less."
        )
        raise RecipeError(msg, code="too-many-stages")


class Freezing:
    """Sets before each step which layers learn; the others keep weights and the statistics of batch normalisation.

    What is frozen is a function of the step alone, so that an interruption leaves no trace.

    Args:
        network: Whose layers are frozen.
        plan: `frozen_stages` always, and all but the head for the share `head_warmup` of the steps.
        total: Optimiser steps of the whole training.
    """

    def __init__(self, network: nn.Module, plan: TrainingPlan, total: int) -> None:
        self.body = layer_groups(network)[:-1] if plan.frozen_stages or plan.head_warmup else []
        self.always, self.warmup = plan.frozen_stages, plan.head_warmup * total

    def apply(self, step: int) -> None:
        """Freeze what a step leaves as it is, and thaw the rest.

        Args:
            step: Optimiser steps done so far.
        """
        count = len(self.body) if step < self.warmup else self.always
        for number, group in enumerate(self.body):
            for module in group:
                module.train(number >= count)
                module.requires_grad_(number >= count)
