"""How many devices and nodes train together, and which of their processes this one is.

Every process runs the whole of `hilum.training.train.train`; the first reads, decodes, splits and writes, the others
follow. ``torchrun`` and ``srun`` start such processes; where nobody did, `hilum.training.launch` starts them.
Lightning's own launcher is not used for that: it calls ``sys.argv`` again once the first process already holds the
run's lock and has decoded the data, and in a notebook or a test that is another program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hilum.data.process_pool import usable_cores
from hilum.errors import UsageError

STRATEGIES = ("ddp",)  # checkpoints are whole on each rank: strategies that shard weights would not do
TOGETHER = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")  # as Lightning wants them where nothing else starts the nodes


@dataclass(frozen=True)
class Devices:
    """What was asked for.

    Attributes:
        devices: Processes a node, one for each GPU, or on a machine without a GPU each on its share of the cores.
            None: what `torchrun` or SLURM started; else one.
        nodes: Machines; None: what `torchrun` or SLURM started; else one.
        strategy: Lightning's strategy.
        sync_batchnorm: Whether batch normalisation takes its statistics over the global batch, as one device would;
            else each device over its part.
    """

    devices: int | None = None
    nodes: int | None = None
    strategy: str = "ddp"
    sync_batchnorm: bool = True

    @property
    def world(self) -> int:
        """Processes asked for."""
        return (self.devices or 1) * (self.nodes or 1)


@dataclass(frozen=True)
class Place:
    """Which process this is.

    Attributes:
        rank: Its number among all.
        world: How many there are.
        local_rank: Its number on its node.
        local_world: How many there are on its node.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.world // self.local_world

    def share(self, count: int) -> slice:
        """Which of `count` things in order are this process's: disjoint, together all, of equal number or one apart."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def export(self) -> None:
        """Say it as ``torchrun`` does, for PyTorch and Lightning."""
        named = {"RANK": self.rank, "WORLD_SIZE": self.world, "LOCAL_RANK": self.local_rank}
        os.environ.update({name: str(value) for name, value in named.items()})
        os.environ.setdefault("GROUP_RANK", str(self.rank // self.local_world))

    def threads(self) -> int:
        """Threads of this process: its share of the node's cores, or what ``OMP_NUM_THREADS`` says."""
        told = os.environ.get("OMP_NUM_THREADS", "")
        return int(told) if told.isdigit() and int(told) else max(1, usable_cores() // self.local_world)


def check_devices(asked: Devices) -> None:
    """Find what cannot be meant, before any work.

    Raises:
        UsageError: There is no such strategy, a number is less than one, or there are fewer devices.
    """
    if asked.strategy not in STRATEGIES:
        msg = f"--strategy {asked.strategy}: hilum trains with {', '.join(STRATEGIES)} alone. Omit it."
        raise UsageError(msg, code="no-such-strategy")
    for option, number in (("--devices", asked.devices), ("--nodes", asked.nodes)):
        if number is not None and number < 1:
            msg = f"{option} {number}: give at least 1."
            raise UsageError(msg, code="no-device")
    if (asked.devices or 1) > 1:
        import torch

        gpus = torch.cuda.device_count()
        there, what = (gpus, "GPU") if gpus else (usable_cores(), "core")
        if (asked.devices or 1) > there:
            msg = (
                f"--devices {asked.devices}: this machine has {there} {what}{'s' * (there > 1)}"
                f"{'' if gpus else ' and no GPU'}. Give at most {there}."
            )
            raise UsageError(msg, code="too-many-devices")


def find_place(asked: Devices, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Which process this is, by what ``torchrun`` or ``srun`` says; None where processes have yet to be started.

    SLURM counts only within a step of ``srun`` with as many tasks as were asked for: in a batch script or an
    interactive shell its variables are set, too, and nobody started the others.

    Args:
        asked: Devices and nodes.
        environment: Environment variables.

    Raises:
        UsageError: More or fewer processes were started than were asked for.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        found = _place(environment, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        _check_started(asked, found, "torchrun")
        return found
    if asked.world == 1:
        return Place()
    if "SLURM_STEP_ID" in environment and int(environment.get("SLURM_NTASKS", "1")) > 1:
        tasks = int(environment["SLURM_NTASKS"]) // int(environment.get("SLURM_NNODES", "1"))
        told = {**environment, "local_world": str(tasks)}
        found = _place(told, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "local_world")
        _check_started(asked, found, "srun")
        return found
    return None


def writes(asked: Devices) -> bool:
    """Whether this process is the one that says how a training ended: the first, or the one that started the others."""
    place = find_place(asked)
    return place is None or place.rank == 0


def check_alone(asked: Devices, what: str) -> None:
    """Refuse what one process has to do before the others begin.

    Args:
        asked: Devices and nodes.
        what: An option.

    Raises:
        UsageError: Several processes were started already.
    """
    place = find_place(asked)
    if place and place.world > 1:
        msg = f"{what}: goes with one process, and {place.world} were started. Choose first, then start them."
        raise UsageError(msg, code="several-processes")


def _place(environment: Mapping[str, str], *names: str) -> Place:
    return Place(*(int(environment[name]) for name in names))


def _check_started(asked: Devices, found: Place, by: str) -> None:
    wanted = (asked.devices or found.local_world, asked.nodes or found.nodes)
    if wanted != (found.local_world, found.nodes):
        msg = (
            f"--devices {wanted[0]} --nodes {wanted[1]}: {by} started {found.local_world} processes on each of "
            f"{found.nodes} nodes. Give {by} the same numbers, or omit the options."
        )
        raise UsageError(msg, code="other-processes")
