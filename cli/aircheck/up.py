"""``aircheck up``: the whole system on this machine."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from deploy.embedded.options import BadOption, Options, from_environment

if TYPE_CHECKING:
    from deploy.embedded.system import EmbeddedSystem

console = Console(log_path=False)


def up(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything that is kept, or AIRCHECK_DATA; by default aircheck in your user data folder."
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder for recordings, or AIRCHECK_RECORDINGS; by default recordings in the data folder."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the gateway, or AIRCHECK_PORT; 0 = any free one. By default 8720 if it is free.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address the gateway listens on, or AIRCHECK_HOST; by default 127.0.0.1, this machine only."),
    ] = None,
    allow_private_sources: Annotated[
        bool | None,
        typer.Option(help="Admit channels in private networks, or AIRCHECK_ALLOW_PRIVATE_SOURCES; off by default."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of all services here.")] = False,
) -> None:
    """Start NATS, PostgreSQL and the nine services below one folder, and stay until Ctrl-C.

    Prints the address, where recordings go and, the first time, the password of admin. Everything is there again at the next start.

    Example: aircheck up --data ~/aircheck --recordings /media/big --port 8720

    Exit code 0: stopped as asked. 1: could not start, the reason is printed.
    """
    try:
        options = from_environment(
            data=data and data.absolute(),
            recordings=recordings and recordings.absolute(),
            port=port,
            host=host,
            allow_private_sources=allow_private_sources,
            verbose=verbose,
        )
    except BadOption as error:
        raise typer.BadParameter(str(error)) from error
    run_system(options)


def run_system(options: Options) -> None:
    """Start, tell the person where everything is, watch until the end. Exit code 1 when it does not start."""
    # Imported here, because every other command can do without the services.
    from deploy.embedded.system import EmbeddedSystem

    started = time.monotonic()
    from deploy.embedded.children import BadSettings
    from deploy.embedded.process import EngineError
    from deploy.embedded.system import NotReady

    try:
        with console.status("starting NATS, PostgreSQL and nine services …"):
            system = EmbeddedSystem(options, say=lambda text: console.log(text, markup=False))
            system.start()
    except (BadSettings, EngineError, NotReady, OSError) as error:
        console.print(f"[red]could not start:[/] {error}", highlight=False)
        raise typer.Exit(1) from error
    console.print(_welcome(system, time.monotonic() - started))
    system.run()
    console.print("stopped; everything is kept in", str(options.data), highlight=False, markup=False)


def _welcome(system: EmbeddedSystem, seconds: float) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_row("Gateway", system.url)
    if system.first_password:
        table.add_row("First login", f"admin / {system.first_password}")
    table.add_row("Recordings", str(system.options.recordings))
    table.add_row("Data", str(system.options.data))
    table.add_row("Logs", str(system.options.logs))
    table.add_row("Next", f"{_command()} streamers add URL")
    return Panel(table, title=f"Aircheck is running ({seconds:.1f} s)", subtitle="Ctrl-C stops it", expand=False)


def _command() -> str:
    installed = Path(sys.prefix) / "bin" / "aircheck"
    return os.path.relpath(installed) if installed.is_relative_to(Path.cwd()) else "aircheck"


def new_key() -> None:
    """Print a fresh system key for a deployment of your own (``<SERVICE>_SECRET_KEY``)."""

    from chassis.secrets import new_system_key

    typer.echo(new_system_key())
