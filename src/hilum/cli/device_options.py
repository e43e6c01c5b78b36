"""The options that say on which devices a command trains."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer

from hilum.cli.arguments import UNLOADED
from hilum.training.devices import Devices

PANEL = "Several devices"


def _options(
    *,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes a node: one a GPU, or without GPUs one on each share of the cores; 1 by default.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            metavar="M",
            help="Machines: started by torchrun or srun, or with MASTER_ADDR, MASTER_PORT, NODE_RANK; 1 by default.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[str, typer.Option(metavar="ddp", help="Strategy of Lightning.", rich_help_panel=PANEL)] = "ddp",
    sync_batchnorm: Annotated[
        bool,
        typer.Option(
            "--sync-batchnorm/--no-sync-batchnorm",
            help="Batch normalisation over the batches of all devices, or of each alone.",
            rich_help_panel=PANEL,
        ),
    ] = True,
) -> Devices:
    """The options together."""
    return Devices(devices, nodes, strategy, sync_batchnorm)


def trains_on_devices(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which receives them together as `devices`."""
    added = inspect.signature(_options, eval_str=True).parameters
    signature = inspect.signature(command, eval_str=True, locals=UNLOADED)
    own = {name: parameter for name, parameter in signature.parameters.items() if name != "devices"}
    shown = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own.values(), *added.values())]

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        asked = _options(**{name: values.pop(name) for name in added})
        command(**values, devices=asked)

    described = cast("Any", with_options)
    described.__signature__ = signature.replace(parameters=shown)
    return with_options
