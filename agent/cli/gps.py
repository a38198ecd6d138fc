"""`homeplate gps`: keeps the fixes of the last two minutes for the watcher of a vehicle unit."""

import argparse
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Final

from agent.base.clock import Clock, SystemClock, to_ms
from agent.base.errors import ConfigError, DeviceError
from agent.base.files import replace_unsynced
from agent.base.gps import LINE_LIMIT, Track, add_fix, encode_track, parse_report
from agent.cli.unit import add_config, load_settings, stop_on_signal

READER: Final = ("gpspipe", "-w")
"""gpsd's own client (package gpsd-clients) talks to it: no code of ours opens a connection."""
END_S: Final = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument(
        "--gpsd",
        metavar="ADDRESS",
        default="127.0.0.1:2947",
        help="where gpsd is (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Follow gpsd until a signal comes.

    Raises:
        ConfigError: The settings name no track, or gpspipe is missing.
        DeviceError: gpsd is not there, or went away; systemd starts this again.
    """
    track = load_settings(args.config).gps.track
    if not track:
        message = f"{args.config}: [gps] track is empty; expected a file in memory"
        raise ConfigError(message)
    stop = stop_on_signal()
    try:
        command = [*READER, args.gpsd]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603  the operator's own
    except FileNotFoundError as error:
        message = f"{READER[0]}: not found; apt install gpsd-clients"
        raise ConfigError(message) from error
    try:
        keep_track(read_lines(reader.stdout), Path(track), clock=SystemClock(), stop=stop)
    finally:
        reader.terminate()
        reader.wait(END_S)
        Path(track).unlink(missing_ok=True)
    if stop():
        return 0
    message = f"gpsd at {args.gpsd}: ended or not there; expected reports; systemctl status gpsd"
    raise DeviceError(message)


def read_lines(pipe: IO[bytes] | None) -> Iterable[bytes]:
    """Give the lines of a pipe until its end; one that is too long is cut."""
    return iter(lambda: pipe.readline(LINE_LIMIT) if pipe else b"", b"")


def keep_track(
    lines: Iterable[bytes], path: Path, *, clock: Clock, stop: Callable[[], bool]
) -> None:
    """Write the newest fixes to a file in memory, each time that one comes.

    Raises:
        DeviceError: The folder refuses.
    """
    track = Track()
    for line in lines:
        if stop():
            return
        fix = parse_report(line, heard_ms=to_ms(clock.now()))
        if fix is None:
            continue
        track = add_fix(track, fix)
        try:
            replace_unsynced(path, encode_track(track))
        except OSError as error:
            message = f"{path}: cannot be written ({error.strerror}); expected a folder of ours"
            raise DeviceError(message) from error
