"""`hilum node`: the DICOM node, and what its operator asks of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.arguments import print_json, say
from hilum.extras import require

if TYPE_CHECKING:
    from hilum.serving.node.configuration import Configuration

node = typer.Typer(
    name="node",
    help="Answer images that an archive sends over DICOM with structured reports.",
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode="rich",
)
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration in TOML; node.toml by default.")
]
DEFAULT = Path("node.toml")


def _configuration(context: typer.Context, file: Path | None) -> Configuration:
    require("node", "hilum node")
    from hilum.serving.node.configuration import read_configuration

    before = context.parent.params.get("config") if context.parent else None
    return read_configuration(file or before or DEFAULT)


@node.callback()
def _run(context: typer.Context, config: ConfigOption = None) -> None:
    """Answer images that an archive sends over DICOM with structured reports; Ctrl-C ends it. Not for diagnosis."""
    if context.invoked_subcommand:
        return
    require("node", "hilum node")
    from hilum.serving.node.configuration import read_configuration
    from hilum.serving.node.node import run_node

    run_node(read_configuration(config or DEFAULT))


@node.command()
def check(
    context: typer.Context,
    config: ConfigOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Store a test report about a made-up patient at each destination.")
    ] = False,
) -> None:
    """Ask every peer whether it answers (C-ECHO, QIDO-RS); exit code 1 where one does not."""
    settings = _configuration(context, config)
    from hilum.serving.node.node import quiet
    from hilum.serving.node.peers import check_peers

    faults = 0
    with ExitStack() as until:
        quiet(until)
        for found in check_peers(settings, write=write):
            say(f"{found.name}: {found.asked}: {found.fault or 'ok'}")
            faults += bool(found.fault)
    if faults:
        raise typer.Exit(1)


@node.command()
def status(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print counts, the oldest image that waits, and failures with reasons; no identifiers."""
    settings = _configuration(context, config)
    from hilum.serving.node.peers import queue_status

    found = queue_status(settings)
    if as_json:
        print_json(asdict(found))
        return
    say("images: " + ", ".join(f"{count:,} {state}" for state, count in found.jobs.items()))
    for destination, states in found.deliveries.items():
        say(f"{destination}: " + ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())))
    say("oldest unfinished: " + ("none" if found.oldest is None else f"{found.oldest:,.0f} s"))
    for peer, (failures, reason) in found.outages.items():
        say(f"{peer}: cannot be reached ({failures} attempts): {reason}")
    for what, why, count in found.reasons:
        say(f"{what}: {count:,}: {why}")


@node.command()
def retry(context: typer.Context, config: ConfigOption = None) -> None:
    """Send and classify again what was given up; a running node takes it up by itself."""
    settings = _configuration(context, config)
    from hilum.serving.node.peers import retry as retry_dead

    say(f"{retry_dead(settings):,} will be tried again")
