"""`hilum serve`: the HTTP service and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.arguments import say
from hilum.extras import require


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|NAME|hf://OWNER/NAME",
            help="A model file or the name of a pretrained one; may be repeated; paediatric-pneumonia by default.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any that is free.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that requests have to carry; or set HILUM_TOKEN.")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Listen beyond this machine without a token.")] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Name under which others ask for the service; may be repeated."),
    ] = None,
    largest: Annotated[int, typer.Option(metavar="MIB", help="Largest file in MiB.", min=1, max=256)] = 64,
    waiting: Annotated[
        int, typer.Option(help="Most images under way; what comes on top is answered with 503.", min=1, max=100_000)
    ] = 512,
    threads: Annotated[int | None, typer.Option(help="Number of threads; by default as many as cores.", min=1)] = None,
) -> None:
    """Serve a model over HTTP, with a page for the browser."""
    require("serve", "hilum serve")
    from hilum.serving.http.server import find_token, is_loopback
    from hilum.serving.http.server import serve as run_service
    from hilum.serving.http.uploads import Limits

    token = find_token(token_file, host, open_to_all=no_token)
    limits = Limits(file=largest * 2**20, request=max(256, largest) * 2**20, waiting=waiting)

    def tell(address: str) -> None:
        say(f"{address} (not for diagnosis; Ctrl-C ends it)", err=True)
        if not is_loopback(host):
            say("note: this is plain HTTP. Put a proxy with TLS in front of it.", err=True)

    run_service(
        model or [], host=host, port=port, token=token, names=name or [], limits=limits, threads=threads, tell=tell
    )
