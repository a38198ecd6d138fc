"""A Debian 13 that boots in a container with its own systemd, in a network of our making.

Layout: `unit` is the container's network namespace, `city` the endpoint's; one cable between them.
The root is an overlay over the image, so that each test has a card of its own and the image stays.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = Path(os.environ.get("HOMEPLATE_IMAGE", ROOT / "dist" / "image"))
"""Made by `deploy/image/build`, with the package in it."""
TOOLS = ("systemd-nspawn", "ip", "nsenter", "unshare", "nft")
UNIT_ADDRESS = "10.77.0.1"
CITY_ADDRESS = "10.77.0.2"
BOOT_LIMIT_S = 300.0
STEP_LIMIT_S = 300.0
"""Patience with a busy machine; nothing is measured by them."""

BOOT = """
set -e
cd "$CARD"
mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=upper,workdir=work" root
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/homeplate-$NAME"
echo $$ >"/sys/fs/cgroup/homeplate-$NAME/cgroup.procs"
mount -t tmpfs tmpfs /run
exec systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$CARD/root" \
  --network-namespace-path="$NETWORK" --capability=all --system-call-filter=bpf \
  --console=read-only --machine="$NAME"
"""
# Without capabilities and bpf systemd's address filters are silently not applied in there.


def why_not() -> str:
    """Return why this machine cannot boot a container, empty when it can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: systemd-container iproute2 nftables)"
    if not (IMAGE / "usr/bin/homeplate").exists():
        return f"no image at {IMAGE}; see tests/system/README.md"
    tried = subprocess.run(
        [
            "unshare",
            "--mount",
            "--net",
            "sh",
            "-c",
            "mount -t tmpfs none /mnt && ip link set lo up",
        ],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "namespaces are not to be had here"


def call(*words: object, check: bool = True, **options: object) -> str:
    """Run a program and return what it said."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=STEP_LIMIT_S,
        **options,
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}")
    return done.stdout


def await_true(question: Callable[[], object], what: str, *, limit_s: float = STEP_LIMIT_S) -> None:
    """Wait until something is so."""
    until = time.monotonic() + limit_s
    while not question():
        if time.monotonic() > until:
            pytest.fail(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.3)


@dataclass
class Network:
    """Two network namespaces and the cable between them."""

    folder: Path

    @property
    def unit(self) -> Path:
        """The container's."""
        return self.folder / "unit.net"

    @property
    def city(self) -> Path:
        """The endpoint's."""
        return self.folder / "city.net"

    def lay(self) -> None:
        """Make both and join them; the cable is not plugged in yet."""
        for path in (self.unit, self.city):
            path.touch()
            call("unshare", f"--net={path}", "ip", "link", "set", "lo", "up")
        self.inside(self.city, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "eth0")
        self.inside(self.city, "ip", "link", "set", "eth0", "netns", str(self.unit))
        quiet = "echo 1 >/proc/sys/net/ipv6/conf/cable/disable_ipv6"  # what is heard is the unit's
        self.inside(self.city, "sh", "-c", quiet)
        self.inside(self.city, "ip", "address", "add", f"{CITY_ADDRESS}/24", "dev", "cable")
        self.inside(self.city, "ip", "link", "set", "cable", "up")

    def plug_in(self) -> None:
        """Give the unit its address and its route; the city's side routes nowhere."""
        self.inside(
            self.unit, "ip", "address", "add", f"{UNIT_ADDRESS}/24", "dev", "eth0", check=False
        )
        self.inside(self.unit, "ip", "link", "set", "eth0", "up")
        self.inside(
            self.unit, "ip", "route", "replace", "default", "via", CITY_ADDRESS, check=False
        )

    def pull(self) -> None:
        """Pull the cable."""
        self.inside(self.unit, "ip", "link", "set", "eth0", "down")

    def inside(self, path: Path, *words: str, check: bool = True) -> str:
        """Run a program in one of the namespaces."""
        return call("nsenter", f"--net={path}", *words, check=check)

    def remove(self) -> None:
        """Give both back."""
        for path in (self.unit, self.city):
            call("umount", path, check=False)


@dataclass
class Machine:
    """A unit: a card and a network cable; can be switched on, off, and have its power cut."""

    card: Path
    network: Network
    name: str = "unit"
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def console(self) -> Path:
        """What it said on its console."""
        return self.card / "console.log"

    def path(self, name: str) -> Path:
        """Return a file that is written onto the card, before it is switched on."""
        path = self.card / "upper" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def switch_on(self) -> None:
        """Boot, and wait until systemd has begun with the services."""
        for name in ("upper", "work", "root"):
            (self.card / name).mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "IMAGE": str(IMAGE),
            "CARD": str(self.card),
            "NAME": f"{self.name}-{os.getpid()}",
            "NETWORK": str(self.network.unit),
            "SYSTEMD_LOG_LEVEL": "warning",
        }
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "bash", "-c", BOOT],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        await_true(self._is_up, f"the container is up; see {self.console}", limit_s=BOOT_LIMIT_S)

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            pytest.skip(f"systemd-nspawn does not boot here: {self.console.read_text()[-400:]}")
        if self.leader == 0:
            return False
        return self.run("systemctl", "is-active", "basic.target", check=False).strip() == "active"

    @property
    def leader(self) -> int:
        """The number of the container's first process, 0 while there is none."""
        if self._process is None:
            return 0
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        children = path.read_text().split() if path.exists() else []
        return int(children[0]) if children else 0

    def run(self, *words: object, check: bool = True) -> str:
        """Run a program inside."""
        into = ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net"]
        return call(*into, "--pid", "--cgroup", "--", *words, check=check)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a systemd unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def journal(self, *options: str) -> str:
        """Return the journal."""
        return self.run("journalctl", "--no-pager", "--output=cat", *options, check=False)

    def switch_off(self) -> None:
        """Shut down in good order."""
        if self._process is not None and self._process.poll() is None:
            self.run("systemctl", "poweroff", "--no-block", check=False)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.cut_power()

    def reboot(self) -> None:
        """Restart from within; the container ends with 133, which asks to be started again."""
        self.run("systemctl", "reboot", "--no-block", check=False)
        if self._process is not None:
            self._process.wait(STEP_LIMIT_S)
        self.switch_on()

    def cut_power(self) -> None:
        """Kill everything in it at once."""
        if self._process is not None and self._process.poll() is None:
            leader = self.leader
            if leader:
                os.kill(leader, 9)
            self._process.kill()
            self._process.wait(30)
