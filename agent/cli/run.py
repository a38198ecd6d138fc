"""`homeplate run`: watcher and sender as two processes in one terminal, for trying out."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable

from agent.base.clock import Clock, SystemClock
from agent.base.errors import HomeplateError
from agent.cli.unit import (
    add_config,
    load_settings,
    load_unit,
    require_in_service,
    require_valid,
    stop_on_signal,
)

LOOK_INTERVAL_S = 0.2
END_TIMEOUT_S = 30.0
SIGNALLED = 128
"""A process that a signal ended is told as a shell tells it: 128 and the signal's number."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Start both, end both at Ctrl-C, or when the camera has ended and all is sent.

    Returns:
        The exit code of the one that failed, 0 when neither did.
    """
    clock = SystemClock()
    require_in_service(load_settings(args.config))
    require_valid(load_unit(args.config, "watch"), clock=clock)
    stop = stop_on_signal()
    config = ["--config", str(args.config)]
    processes = [start(["watch", "--progress", *config]), start(["send", *config])]
    try:
        await_end(processes, stop, clock)
        if end(processes[0]) == 0 and end(processes[1]) == 0 and not stop():
            # Only now: a sender that drains from the start would end at the sign-off before.
            processes.append(start(["send", "--drain", *config]))
            await_end(processes[-1:], stop, clock)
    finally:
        codes = [end(process) for process in processes]
    return next((code for code in codes if code), 0)


def await_end(
    processes: list[subprocess.Popen[bytes]], stop: Callable[[], bool], clock: Clock
) -> None:
    """Wait until one of the processes has ended or `stop` says so."""
    while not stop() and all(process.poll() is None for process in processes):
        clock.wait_s(LOOK_INTERVAL_S)


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a command of ours as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "agent", *arguments])  # noqa: S603  our own


def end(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end and return its exit code, 0 where it had hardly begun.

    Raises:
        HomeplateError: It does not end.
    """
    if process.poll() is None:
        process.terminate()
    try:
        code = process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        message = f"process {process.pid} did not end within {END_TIMEOUT_S} s and was killed"
        raise HomeplateError(message) from error
    if code == -signal.SIGTERM:  # ours, before it had its handler
        return 0
    return code if code >= 0 else SIGNALLED - code
