"""The command `homeplate-endpoint`: init, serve, unit, export, status, hotlist, certificate."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError, HomeplateError
from agent.base.files import sync_directory, write_whole
from agent.base.log import keep_order, set_up_logging
from homeplate_endpoint.app import make_app
from homeplate_endpoint.commands import add_hotlist, add_init, add_unit
from homeplate_endpoint.config import Config, load_config, load_settings
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.heartbeats import HEARTBEATS, Heartbeats
from homeplate_endpoint.intake import Intake
from homeplate_endpoint.lists import REQUESTS, ListDesk, Requests
from homeplate_endpoint.reading import read_frames
from homeplate_endpoint.registrar import Registrar
from homeplate_endpoint.server import bind, make_server, make_tls
from homeplate_endpoint.server_certificate import add_certificate
from homeplate_endpoint.status import run_status
from homeplate_endpoint.store import Store
from homeplate_endpoint.units import Units

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; results go to stdout, all else to stderr."""
    if arguments is None:  # a process of our own: lines of both streams in the order of writing
        keep_order(sys.stdout)
    args = _make_parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except HomeplateError as error:
        sys.stderr.write(f"homeplate-endpoint: {error}\n")
        return error.exit_code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homeplate-endpoint",
        description="Stores sealed frames for a city and signs receipts. Opens nothing.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="take uploads until stopped")
    serve.add_argument("--port-file", type=Path, help="write the port here once listening")
    serve.set_defaults(run=_serve)
    export = commands.add_parser("export", help="write all frames to a file for `homeplate open`")
    export.add_argument("out", type=Path, metavar="OUT")
    export.set_defaults(run=_export)
    status = commands.add_parser("status", help="count what is stored, by unit and lane")
    status.add_argument("--json", action="store_true", help="for machines")
    status.set_defaults(run=run_status)
    add_init(commands.add_parser("init", help="make the keys and settings of a new endpoint"))
    add_unit(commands.add_parser("unit", help="the register of enrolled units"))
    add_hotlist(commands.add_parser("hotlist", help="seal the list for a unit without a network"))
    add_certificate(commands.add_parser("certificate", help="the server's own: its end, the next"))
    for command in (serve, export, status):
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file")
    return parser


def _serve(args: argparse.Namespace) -> int:
    config = load_config(args.config)
    set_up_logging(level="info")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    tls = make_tls(config.tls)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)  # uvicorn raises the signal again after its own good end
    with (
        closing(Store(config.storage)) as store,
        closing(Units(config.units)) as units,
        closing(Requests(config.units.with_name(REQUESTS))) as requests,
        _telling_port(args.port_file) as tell_port,
    ):
        bound = bind(config.listen, config.port)
        port: int = bound.getsockname()[1]

        def announce() -> None:
            sys.stderr.write(f"ready {config.listen} {port}\n")
            sys.stderr.flush()
            tell_port(port)

        app = make_app(_make_desk(config, store, units, requests))
        make_server(app, tls, config.limits, announce).run(sockets=[bound])
    return 0


@contextmanager
def _telling_port(path: Path | None) -> Iterator[Callable[[int], None]]:
    """Give a function that writes the port into a file, which is there only while we listen.

    Whoever waits for the file must not find the one that a killed endpoint has left. It is entered
    when the storage is ours: so the file is not that of another endpoint that runs.
    """

    def write(port: int) -> None:
        if path is not None:
            write_whole(path, f"{port}\n".encode(), mode=0o644)

    def remove() -> None:
        if path is not None:
            path.unlink(missing_ok=True)

    remove()
    try:
        yield write
    finally:
        remove()


def _end(_number: int, _frame: FrameType | None) -> None:
    """Let the command go on to its end."""


def _make_desk(config: Config, store: Store, units: Units, requests: Requests) -> Desk:
    clock = SystemClock()
    intake = Intake(
        store=store,
        watch_keys=units,
        signer=config.signer,
        clock=clock,
        raise_alarm=_raise_alarm,
    )
    registrar = Registrar(
        units=units, issuer=config.issuer, tickets=config.tickets, grace=config.grace, clock=clock
    )
    return Desk(
        intake=intake,
        units=units,
        registrar=registrar,
        policy=config.policy,
        applications=config.applications,
        heartbeats=Heartbeats(config.units.with_name(HEARTBEATS), clock),
        lists=ListDesk(config.hotlist, requests, units, clock),
        clock=clock,
        body_limit_bytes=config.body_limit_bytes,
    )


def _raise_alarm(unit: str, kind: str, detail: str) -> None:
    log.error("ALARM", extra={"unit": unit, "kind": kind, "detail": detail})


def _export(args: argparse.Namespace) -> int:
    frames = _write_frames(args.out, read_frames(_storage(args.config)))
    print(f"{frames} frames written to {args.out}")
    return 0


def _write_frames(out: Path, frames: Iterator[bytes]) -> int:
    """Write frames one after the other; the file is there whole or not at all."""
    temporary = out.with_name(f".{out.name}.new")
    count = 0
    try:
        with temporary.open("wb") as file:
            for content in frames:
                file.write(content)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
        sync_directory(out.parent)
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror})"
        raise ConfigError(message) from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _storage(config: Path) -> Path:
    return config.resolve().parent / load_settings(config).storage
