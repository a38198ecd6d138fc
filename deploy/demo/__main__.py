"""`deploy/dev demo`: from a recorded video to a signed receipt, in a temporary folder.

Real parts throughout: two processes, real models, mutual TLS on loopback, real fsync. At the end
the city opens what it received and it is held against the truth of the clip.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
from cryptography.exceptions import InvalidTag

from agent.base.errors import HomeplateError
from agent.trust.frames import Found, SealedFrame, scan_frames
from agent.trust.header import encode_header
from agent.trust.keys import Opener, load_opener
from deploy.demo.city import UNIT, City, found_city, publish_policy, settle_endpoint, settle_unit
from deploy.demo.report import Outcome, draw_picture, draw_report
from deploy.demo.score import score_reads

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "tests" / "data" / "demo.mp4"
START_LIMIT_S = 60.0
STEP_LIMIT_S = 600.0
BAR_WIDTH = 28
CALL = re.compile(r"\d+ +[a-z_0-9]+\(")
"""A line of strace that shows a system call begin."""


class DemoError(Exception):
    """A step failed; the message says which, and where its log lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asked for."""

    clip: Path
    truth: Path
    folder: Path
    realtime: bool
    trace: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and print its table; 0 when every promise held."""
    args = parse_arguments(arguments)
    here = Path(os.environ.get("HOMEPLATE_CALLED_FROM", "."))
    clip = (here / args.clip).resolve()
    try:
        with demo_folder(here / args.folder if args.folder else None) as folder:
            outcome = run_demo(
                Options(
                    clip=clip,
                    truth=(here / (args.truth or clip.with_suffix(".truth.jsonl"))).resolve(),
                    folder=folder,
                    realtime=args.realtime,
                    trace=args.trace,
                )
            )
        table = draw_report(outcome)
        print(json.dumps(outcome.as_dict()) if args.json else table)
        if args.picture:
            (here / args.picture).write_text(draw_picture(table))
    except DemoError as error:
        say(f"failed: {error}")
        return 1
    except (OSError, HomeplateError) as error:
        say(f"failed: {error}; the demo needs a readable clip with its truth and a writable folder")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    return 0 if outcome.holds else 1


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="deploy/dev demo", description=__doc__)
    parser.add_argument("--clip", type=Path, default=CLIP, help="a video (the shipped clip)")
    parser.add_argument("--truth", type=Path, help="its truth, JSON lines (CLIP's .truth.jsonl)")
    parser.add_argument("--folder", type=Path, help="keep everything in this new folder")
    parser.add_argument("--realtime", action="store_true", help="play the clip at its own pace")
    parser.add_argument("--trace", action="store_true", help="count network calls (needs strace)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also draw the table, SVG")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def demo_folder(wanted: Path | None) -> Iterator[Path]:
    """Give a folder: a temporary one that goes away, or the one that is to be kept."""
    if wanted is not None:
        if wanted.exists():
            message = f"{wanted} exists already; name a new folder"
            raise DemoError(message)
        wanted.mkdir(parents=True)
        yield wanted.resolve()
        say(f"everything is kept in {wanted}: city/, endpoint/, unit/ and logs/")
        return
    folder = Path(tempfile.mkdtemp(prefix="homeplate-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_demo(options: Options) -> Outcome:
    """Found a city, run endpoint, watcher and sender on the clip, let the city look."""
    for path in (options.clip, options.truth):
        path.open("rb").close()
    count_frames(options.clip)
    say("1/5 founding a city: CA, keys, three offices, a policy that two of them sign, one unit")
    city = found_city(options.folder)
    logs = options.folder / "logs"
    logs.mkdir()
    say("2/5 starting the city's endpoint on loopback, mutual TLS")
    port = find_free_port()
    publish_policy(city, port=port)
    settle_endpoint(city, port=port)
    settle_unit(city, source=options.clip, realtime=options.realtime)
    with serving(city, logs):
        say("3/5 watching the clip, sending to the city")
        started = time.monotonic()
        counters = run_unit(city.unit_settings, logs, options)
        elapsed_s = time.monotonic() - started
    say("4/5 the city opens what it received")
    export = options.folder / "city" / "received.frames"
    command(["-m", "homeplate_endpoint", "export", "--config", city.endpoint_config, export])
    opened = open_frames(export, city.opening_key)
    say("5/5 auditing the unit, trying the unit's own keys on its own frames")
    tried, opened_by_unit = try_unit_keys(export, city)
    return Outcome(
        score=score_reads(opened, options.truth),
        counters=counters["watch"],
        sent=counters["send"],
        elapsed_s=elapsed_s,
        left_in_spool=sum(1 for item in (city.unit / "state/spool").rglob("*") if item.is_file()),
        frames_tried=tried,
        opened_by_unit=opened_by_unit,
        audit=audit(city),
        addresses=traced_addresses(logs, "send") if options.trace else None,
        watcher_calls=traced_calls(logs, "watch") if options.trace else None,
    )


def find_free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(city: City, logs: Path) -> Iterator[None]:
    """Run the endpoint; it listens when the block begins."""
    port_file = city.endpoint / "port"
    arguments = ["-m", "homeplate_endpoint", "serve", "--config", str(city.endpoint_config)]
    with (logs / "endpoint.log").open("wb") as log:
        process = start([*arguments, "--port-file", str(port_file)], stdout=log, stderr=log)
        try:
            await_listening(process, port_file, logs)
            yield
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def await_listening(process: subprocess.Popen[bytes], port_file: Path, logs: Path) -> None:
    """Wait until the endpoint has written the port it listens on."""
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        if port_file.exists():
            return
        time.sleep(0.05)
    message = f"the endpoint did not start; its log: {tail(logs / 'endpoint.log')}"
    raise DemoError(message)


def run_unit(settings: Path, logs: Path, options: Options) -> dict[str, dict[str, int]]:
    """Run watcher and sender to their ends and return the counters of both."""
    with (
        (logs / "watch.log").open("wb") as watch_log,
        (logs / "send.log").open("wb") as send_log,
    ):
        watcher = start(
            [*traced("watch", logs, options), "watch", "--progress", "--config", str(settings)],
            stdout=subprocess.PIPE,
            stderr=watch_log,
        )
        sender = start(
            [*traced("send", logs, options), "send", "--drain", "--config", str(settings)],
            stdout=subprocess.PIPE,
            stderr=send_log,
        )
        try:
            watched = follow_progress(watcher, count_frames(options.clip))
            sent = finish(sender, "send", logs) if watcher.wait() == 0 else {}
        finally:
            for process in (watcher, sender):
                process.kill()
                process.wait()
    if watcher.returncode:
        message = f"the watcher ended with {watcher.returncode}: {tail(logs / 'watch.log')}"
        raise DemoError(message)
    return {"watch": watched, "send": sent}


def traced(name: str, logs: Path, options: Options) -> list[str]:
    """Return how a command of the agent begins: under strace when network calls are counted."""
    agent = ["-m", "agent"]
    if not options.trace:
        return agent
    if shutil.which("strace") is None:
        message = "strace not found; on Debian: apt install strace"
        raise DemoError(message)
    trace = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-e",
        "trace=network",
        "-o",
        str(logs / f"{name}.strace"),
    ]
    return [*trace, sys.executable, *agent]


def start(arguments: list[str], **streams: object) -> subprocess.Popen[bytes]:
    """Start one of our programs with this Python."""
    program = arguments if arguments[0] == "strace" else [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(program, cwd=ROOT, env=environment, **streams)  # type: ignore[call-overload,no-any-return]


def follow_progress(watcher: subprocess.Popen[bytes], frames: int) -> dict[str, int]:
    """Show the watcher's counters as a bar until it ends; return the last.

    With them `watching_ms`: from its first frame, so without its start, to its end.
    """
    counters: dict[str, int] = {}
    began_ns = time.monotonic_ns()
    for line in watcher.stdout or ():
        began_ns = began_ns if counters else time.monotonic_ns()
        counters = json.loads(line)
        draw_bar(counters, frames)
    counters["watching_ms"] = (time.monotonic_ns() - began_ns) // 1_000_000
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return counters


def draw_bar(counters: dict[str, int], frames: int) -> None:
    """Draw the progress on a terminal."""
    if not sys.stderr.isatty():
        return
    done = min(counters["frames"] / max(frames, 1), 1.0)
    bar = "█" * round(done * BAR_WIDTH) + "░" * (BAR_WIDTH - round(done * BAR_WIDTH))
    text = f"{counters['frames']}/{frames} frames · {counters['passages']} vehicles"
    sys.stderr.write(f"\r    {bar} {text} · {counters['sealed']} reads sealed ")
    sys.stderr.flush()


def finish(sender: subprocess.Popen[bytes], name: str, logs: Path) -> dict[str, int]:
    """Wait for the sender and return its counters."""
    try:
        output, _ = sender.communicate(timeout=STEP_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        message = f"the sender did not empty the spool: {tail(logs / f'{name}.log')}"
        raise DemoError(message) from error
    if sender.returncode:
        message = f"the sender ended with {sender.returncode}: {tail(logs / f'{name}.log')}"
        raise DemoError(message)
    return dict(json.loads(output.splitlines()[-1]))


def open_frames(export: Path, key: Path) -> list[dict[str, object]]:
    """Return what the city reads with its own key."""
    output = command(["-m", "agent", "open", export, "--key", key, "--json"])
    return [json.loads(line) for line in output.splitlines()]


def try_unit_keys(export: Path, city: City) -> tuple[int, int]:
    """Try every private key that the unit holds on its own frames, past all checks of key ids.

    Returns:
        How many frames were tried, and how many opened.
    """
    scanned = scan_frames(export.read_bytes())
    frames = [found.frame for found in scanned if isinstance(found, Found)]
    keys = [load_opener(bytearray(path.read_bytes()), place=str(path)) for path in unit_keys(city)]
    opened = sum(opens(key, frame) for key in keys for frame in frames)
    return len(frames), opened


def unit_keys(city: City) -> list[Path]:
    """Return the private keys on the unit."""
    return sorted((city.unit / "credentials").glob("*.key"))


def opens(key: Opener, frame: SealedFrame) -> bool:
    """Tell whether `key` opens `frame`."""
    try:
        key.decrypt(frame.sealed, encode_header(frame.header))
    except InvalidTag:
        return False
    return True


def audit(city: City) -> dict[str, object]:
    """Return the auditor's verdict on the unit."""
    run = subprocess.run(  # our own program
        [sys.executable, "-m", "agent", "audit", "verify", city.unit / "state", "--json",
         "--policy", city.unit / "policy.bundle", "--root", city.unit / "root.json",
         "--watch-key", city.root / f"city/{UNIT}.watch.der",
         "--send-key", city.root / f"city/{UNIT}.send.der"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )  # fmt: skip
    verdict = json.loads(run.stdout or b"{}")
    return {**verdict, "exit_code": run.returncode, "detail": run.stderr.decode().strip()}


def command(arguments: Sequence[str | Path]) -> str:
    """Run one of our programs to its end and return what it printed."""
    run = subprocess.run(  # our own program
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False
    )
    if run.returncode:
        message = f"{' '.join(map(str, arguments[:4]))}: {run.stderr.decode().strip()}"
        raise DemoError(message)
    return run.stdout.decode()


def traced_calls(logs: Path, name: str) -> int:
    """Return how many network calls strace saw; its lines on signals and ends are none."""
    lines = (logs / f"{name}.strace").read_text().splitlines()
    return sum(CALL.match(line) is not None for line in lines)


def traced_addresses(logs: Path, name: str) -> list[str]:
    """Return the addresses that were called, as strace saw them."""
    lines = (logs / f"{name}.strace").read_text().splitlines()
    called = (line for line in lines if " connect(" in line or "sin_addr" in line)
    return sorted({part.split('"')[1] for part in called if '"' in part})


def count_frames(clip: Path) -> int:
    """Return how many frames the clip says it has, 0 where it does not.

    Raises:
        DemoError: It is no video.
    """
    try:
        with av.open(str(clip)) as container:
            return int(container.streams.video[0].frames)
    except (av.error.FFmpegError, IndexError) as error:
        message = f"{clip}: no video in it; expected a recorded video that FFmpeg knows"
        raise DemoError(message) from error


def tail(path: Path) -> str:
    """Return the last line of a log."""
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(empty)"


def say(text: str) -> None:
    """Tell on standard error what is being done."""
    sys.stderr.write(f"demo: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
