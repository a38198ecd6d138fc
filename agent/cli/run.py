"""`homeplate run`: watcher and sender as two processes in one terminal, for trying out."""

import argparse
import subprocess
import sys

from agent.base.clock import SystemClock
from agent.base.errors import HomeplateError
from agent.cli.unit import add_config, load_unit, stop_on_signal

LOOK_INTERVAL_S = 0.2
END_TIMEOUT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Start both, end both at Ctrl-C, or when the camera has ended and all is sent.

    Returns:
        The exit code of the one that failed, 0 when neither did.
    """
    clock = SystemClock()
    load_unit(args.config, clock=clock)
    stop = stop_on_signal()
    config = ["--config", str(args.config)]
    watcher = start(["watch", "--progress", *config])
    sender = start(["send", "--drain", *config])
    try:
        while watcher.poll() is None and sender.poll() is None and not stop():
            clock.wait_s(LOOK_INTERVAL_S)
        failed = watcher.poll() or sender.poll()
        while not failed and sender.poll() is None and not stop():
            clock.wait_s(LOOK_INTERVAL_S)
    finally:
        codes = [end(watcher), end(sender)]
    return next((code for code in codes if code), 0)


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a command of ours as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "agent", *arguments])  # noqa: S603  our own


def end(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end and return its exit code.

    Raises:
        HomeplateError: It does not end.
    """
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        message = f"process {process.pid} did not end within {END_TIMEOUT_S} s and was killed"
        raise HomeplateError(message) from error
