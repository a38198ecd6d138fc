"""One city and one unit for all system tests: flashed, booted, enrolled by the unit itself."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest

from agent.trust.keys import load_signer
from deploy.demo.city import City, found_city, publish_policy
from tests.system.container import (
    CITY_ADDRESS,
    ROOT,
    Machine,
    Network,
    await_true,
    call,
    why_not,
)

CLIP = ROOT / "tests" / "data" / "demo.mp4"
UNIT = "pole-0001"
PORT = 8443
SETTINGS = f"""
unit = "{UNIT}"
[camera]
source = "/srv/road.mp4"
realtime = true
[uplink]
poll_interval_s = 0.2
batch_interval_s = 1
policy_interval_s = 1
max_back_off_s = 2
"""
SEEN = pytest.StashKey[list[pytest.TestReport]]()
"""Of the tests of this folder, in order."""
FASTER = "[Service]\nWatchdogSec={watchdog_s}\nRestartSec=1\n"


@dataclass
class World:
    """A city with its endpoint, a cable with a listener on it, and a unit."""

    folder: Path
    city: City
    network: Network
    machine: Machine
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def packets(self) -> Path:
        """What went over the cable."""
        return self.folder / "packets.jsonl"

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the endpoint in its own network."""
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        process = self.start_in_city(
            "-m", "homeplate_endpoint", "serve",
            "--config", str(self.city.endpoint_config), "--port-file", str(port_file),
        )  # fmt: skip
        await_true(port_file.exists, "the endpoint listens")
        return process

    def start_in_city(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a Python program on the city's side of the cable."""
        path = os.pathsep.join((str(ROOT), str(ROOT / "deploy" / "endpoint")))
        with (self.folder / "city.log").open("ab") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net={self.network.city}", sys.executable, *words],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def received(self) -> list[dict[str, object]]:
        """Return the reads that the city has, opened with its own key."""
        export = self.folder / "received.frames"
        python("-m", "homeplate_endpoint", "export", "--config", self.city.endpoint_config, export)
        opened = python("-m", "agent", "open", export, "--key", self.city.opening_key, "--json")
        return [json.loads(line) for line in opened.splitlines() if line.startswith("{")]

    def count_received(self) -> int:
        """Return how many sealed frames the endpoint holds."""
        return sum(path.stat().st_size for path in (self.folder / "city/endpoint").rglob("*.seg"))

    def watcher(self) -> dict[str, int]:
        """Return the watcher's counters."""
        content = self.machine.run("cat", "/run/homeplate/watch.health", check=False)
        return json.loads(content)["counters"] if content.startswith("{") else {}

    def sender(self) -> dict[str, int]:
        """Return the sender's counters."""
        content = self.machine.run("cat", "/run/homeplate/send.health", check=False)
        return json.loads(content)["counters"] if content.startswith("{") else {}

    def play(self) -> None:
        """See to it that both services run, and wait until a read more is sealed."""
        self.machine.run("systemctl", "reset-failed", "homeplate-*", check=False)
        self.machine.run("systemctl", "start", "homeplate-watch", "homeplate-send")
        before = self.watcher().get("sealed", 0)
        await_true(lambda: self.watcher().get("sealed", 0) > before, "a read is sealed")

    def audit(self) -> str:
        """Return the judgement over the unit's logs and spool, which must hold."""
        copy = self.folder / "state"
        shutil.rmtree(copy, ignore_errors=True)
        self.machine.run("systemctl", "stop", "homeplate-watch", "homeplate-send")
        ours = self.machine.card / "upper/var/lib/homeplate"
        shutil.copytree(ours, copy, ignore=shutil.ignore_patterns("application"))
        words: list[object] = ["-m", "agent", "audit", "verify", copy]
        words += [
            "--root",
            self.city.unit / "root.json",
            "--policy",
            self.city.unit / "policy.bundle",
        ]
        for name in ("watch", "send"):
            key = self.machine.card / f"upper/etc/homeplate/credentials/{name}.key"
            signer = load_signer(bytearray(key.read_bytes()), place=str(key))
            (self.folder / f"{name}.der").write_bytes(signer.public_spki)
            words += [f"--{name}-key", self.folder / f"{name}.der"]
        return python(*words)


def python(*words: object) -> str:
    """Run one of our programs on this machine, the city's."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "deploy" / "endpoint")))
    return call(sys.executable, *words, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})


def repeat_clip(target: Path, times: int) -> None:
    """Write the clip several times after itself, without coding it anew."""
    with av.open(str(target), "w") as file:
        copy, begin = None, 0
        for _ in range(times):
            with av.open(str(CLIP)) as source:
                video = source.streams.video[0]
                copy = copy or file.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + begin, packet.dts + begin
                    packet.stream = copy
                    file.mux(packet)
                begin += video.duration or 0


def make_bundle(world: World) -> Path:
    """Make the unit's bundle in the office; return the card's boot partition."""
    settings, bundle = world.folder / "unit.toml", world.folder / "bundle"
    settings.write_text(SETTINGS)
    policies = world.city.book.folder
    python(
        "-m", "agent", "unit", "add", UNIT, "--policy", policies / "current.bundle",
        "--root", policies / "root.json", "--settings", settings,
        "--tickets", world.city.endpoint / "tickets", "--out", bundle,
    )  # fmt: skip
    partition = world.machine.path("/boot/firmware/config.txt").parent
    for name in ("config.txt", "cmdline.txt"):
        (partition / name).write_text("")
    return partition


@contextlib.contextmanager
def make_world(folder: Path, *, flashed: bool = True) -> Iterator[World]:
    """Found a city, lay a cable, flash a card; the unit is switched off still."""
    city = found_city(folder / "city", address=CITY_ADDRESS)
    publish_policy(city, port=PORT)
    network = Network(folder)
    network.lay()
    world = World(folder, city, network, Machine(folder / "card", network))
    try:
        world.serve()
        world.start_in_city("-m", "tests.system.capture", "cable", str(world.packets))
        await_true(world.packets.exists, "the cable is listened to")
        world.machine.card.mkdir()
        partition = make_bundle(world)
        if flashed:
            python("-m", "agent", "flash", world.folder / "bundle", partition)
        repeat_clip(world.machine.path("/srv/road.mp4"), 60)
        for name, watchdog_s in (("watch", 20), ("send", 20)):
            drop_in = world.machine.path(
                f"/etc/systemd/system/homeplate-{name}.service.d/test.conf"
            )
            drop_in.write_text(FASTER.format(watchdog_s=watchdog_s))
        drop_in = world.machine.path("/etc/systemd/system/homeplate-enroll.service.d/test.conf")
        drop_in.write_text("[Service]\nRestartSec=2\n")
        yield world
    finally:
        world.machine.cut_power()
        for process in world.processes:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        network.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    """Show the unit's journal beside a failure; keep what the summary tells."""
    report = yield
    made = getattr(item, "funcargs", {}).get("world")
    if report.failed and made is not None and made.machine.leader:
        report.sections.append(("journal", made.machine.journal("-n", "60", "-u", "homeplate-*")))
    item.config.stash.setdefault(SEEN, []).append(report)
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell of each system test how long it took, and what it saw."""
    reports = config.stash.get(SEEN, [])
    if not reports:
        return
    terminalreporter.section("system tests: seconds, result, what was seen")
    for name in dict.fromkeys(report.nodeid for report in reports):
        phases = [report for report in reports if report.nodeid == name]
        seconds = sum(report.duration for report in phases)
        worst = next((one.outcome for one in phases if not one.passed), "passed")
        terminalreporter.write_line(f"{seconds:6.1f} s  {worst:7}  {name.rpartition('/')[2]}")
        for line in phases[-1].capstdout.splitlines():
            terminalreporter.write_line(f"             | {line}")


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """A unit that was flashed, switched on, and has enrolled itself."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    kept = os.environ.get("HOMEPLATE_SYSTEM_FOLDER")
    folder = Path(kept or tempfile.mkdtemp(prefix="homeplate-system-"))
    folder.mkdir(exist_ok=True)
    began = time.monotonic()
    try:
        with make_world(folder) as made:
            made.machine.switch_on()
            await_true(  # as on a unit, where links come up after network-pre.target
                lambda: made.machine.show("homeplate-egress", "ActiveState") == "active",
                "the packet filter stands",
            )
            made.network.plug_in()
            await_true(lambda: made.sender().get("frames_uploaded", 0) > 0, "the first receipt")
            print(f"flashed card to first receipt: {time.monotonic() - began:.0f} s")
            yield made
            made.machine.switch_off()
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
