"""The unit files: understood by systemd to the last line, and as tight as they are meant to be."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import build_parser
from agent.cli.egress import DROP_IN, USER

ROOT = Path(__file__).parents[2]
UNITS = sorted(
    path
    for path in (ROOT / "systemd").iterdir()
    if path.suffix in {".service", ".path", ".timer", ".target", ".slice"}
)
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
PROGRAMS = {
    "/usr/lib/homeplate/reboot-in-budget": str(ROOT / "systemd" / "reboot-in-budget"),
    "/usr/bin/homeplate": sys.executable,
    "/usr/lib/homeplate/run": sys.executable,
    "/usr/sbin/nft": "/bin/true",
}
"""Where a test machine has what the package installs, or something in its place."""
LIMITS = {"homeplate-watch.service": 1.0, "homeplate-send.service": 1.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The unit files, with programs that are there."""
    folder = tmp_path_factory.mktemp("units")
    for path in UNITS:
        text = path.read_text()
        for name, here in PROGRAMS.items():
            text = text.replace(f"{name} ", f"{here} ")
        (folder / path.name).write_text(text)
    return folder


@needs_systemd
def test_systemd_understands_every_line(folder):
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *folder.iterdir()],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_LOG_LEVEL": "warning", "PATH": "/usr/bin:/bin"},
    )
    ours = [line for line in run.stderr.splitlines() if "homeplate" in line]
    assert (run.returncode, ours) == (0, [])


def find_circles(folder: Path) -> list[str]:
    """Return what systemd finds when all of ours start together, as at a start of the machine."""
    begun = "basic.target paths.target timers.target"
    names = " ".join(path.name for path in UNITS if "@" not in path.name)
    (folder / "together.target").write_text(f"[Unit]\nWants={begun} {names}\n")
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "together.target"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    (folder / "together.target").unlink()
    return [line for line in run.stderr.splitlines() if "ordering cycle" in line]


@needs_systemd
def test_at_a_start_nothing_waits_for_itself(folder):
    """Of a circle systemd leaves out a unit at its choice: it was the packet filter once."""
    assert find_circles(folder) == []


@needs_systemd
def test_a_circle_would_be_found(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    path = tmp_path / "homeplate-egress.path"
    path.write_text(path.read_text().replace("DefaultDependencies=no\n", ""))
    assert find_circles(tmp_path)


@needs_systemd
def test_a_slip_in_a_unit_file_would_be_found(folder, tmp_path):
    bad = tmp_path / "homeplate-watch.service"
    text = (folder / "homeplate-watch.service").read_text()
    bad.write_text(text.replace("ProtectSystem=", "ProtectSystm="))
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", bad],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ProtectSystm" in run.stderr


@needs_systemd
@pytest.mark.parametrize("name", LIMITS)
def test_the_services_are_as_tight_as_promised(folder, name):
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", folder / name],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", run.stdout)
    assert found, run.stdout + run.stderr
    print(found[0])
    assert float(found[1]) <= LIMITS[name]


def lines_of(name: str) -> list[str]:
    return (ROOT / "systemd" / name).read_text().splitlines()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_command_of_ours_in_a_unit_is_one(path):
    for line in path.read_text().splitlines():
        ours = r"Exec\w+=(?:/usr/bin/homeplate|/usr/lib/homeplate/run good) (.*)"
        match = re.match(ours, line)
        if match:
            words = match[1].replace("%d", "/run/credentials/x").split()
            assert build_parser([words[0]]).parse_args(words)


def test_the_watcher_has_no_network_and_the_sender_no_camera():
    watch, send = lines_of("homeplate-watch.service"), lines_of("homeplate-send.service")
    assert "PrivateNetwork=yes" in watch
    assert "RestrictAddressFamilies=AF_UNIX" in watch
    assert "PrivateDevices=yes" in send
    assert not [line for line in send if line.startswith("DeviceAllow")]
    assert "IPAddressDeny=any" in send
    assert not [line for line in send if line.startswith("IPAddressAllow")]  # a drop-in's alone
    assert "Requires=homeplate-egress.service" in send


def test_no_service_gets_the_keys_of_the_other():
    given = {
        name: {
            line.split("=")[1].split(":")[0]
            for line in lines_of(name)
            if line.startswith("LoadCredential")
        }
        for name in LIMITS
    }
    assert given == {
        "homeplate-watch.service": {"watch.key"},
        "homeplate-send.service": {"send.key", "tls.key", "tls.crt"},
    }


def test_the_generated_drop_in_is_the_senders():
    assert Path(DROP_IN).parent.name == "homeplate-send.service.d"
    assert f"User={USER}" in lines_of("homeplate-send.service")


def test_the_hardware_watchdog_is_within_what_a_raspberry_pi_can_count():
    text = (ROOT / "systemd" / "system.conf.d" / "50-homeplate.conf").read_text()
    (seconds,) = re.findall(r"(?m)^RuntimeWatchdogSec=(\d+)$", text)
    assert int(seconds) < 15


def test_every_folder_that_a_service_writes_is_made_beforehand():
    made = {
        line.split()[1] for line in lines_of("homeplate.tmpfiles.conf") if line.startswith("d ")
    }
    for name in LIMITS:
        for line in lines_of(name):
            if line.startswith("ReadWritePaths="):
                assert set(line.split("=")[1].split()) <= made
