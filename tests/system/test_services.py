"""A whole unit, booted: what it may do, what it does, how it comes back from what befalls it."""

import re
import signal

import pytest

from tests.system.conftest import UNIT, World, python
from tests.system.container import await_true

pytestmark = pytest.mark.system
SERVICES = ("homeplate-watch", "homeplate-send")
FAKE = "/run/fake/systemctl"
MAKE_FAKE = f"mkdir -p /run/fake; printf '#!/bin/sh\\necho told to $*' >{FAKE}; chmod +x {FAKE}"
"""A `systemctl` that only says what it was told."""


def pid(world: World, service: str) -> int:
    """Return the number of a service's process, as seen inside."""
    return int(world.machine.show(service, "MainPID"))


def restarts(world: World, service: str) -> int:
    return int(world.machine.show(service, "NRestarts"))


def status_of(world: World, service: str) -> dict[str, str]:
    text = world.machine.run("cat", f"/proc/{pid(world, service)}/status")
    return dict(re.findall(r"(\w+):\s+(.*)", text))


def is_active(world: World, service: str) -> bool:
    return world.machine.show(service, "ActiveState") == "active"


def is_alive(world: World) -> bool:
    """Tell whether systemd has not given the watcher up."""
    return world.machine.show("homeplate-watch", "ActiveState") != "failed"


def signal_service(world: World, service: str, number: signal.Signals) -> None:
    world.machine.run("kill", f"-{number.name.removeprefix('SIG')}", pid(world, service))


def test_a_flashed_card_enrols_itself_and_its_reads_arrive(world):
    listed = python(
        "-m", "homeplate_endpoint", "unit", "list", "--config", world.city.endpoint_config
    )
    assert re.search(rf"{UNIT}\s+active", listed), listed
    assert world.received()


def test_nothing_listens(world):
    listening = world.machine.run("ss", "--listening", "--no-header", "--tcp", "--udp", "--numeric")
    print("ss -lntu:", listening.strip() or "(nothing)")
    assert listening.strip() == ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_rights_of_its_own(world, service):
    world.play()
    status = status_of(world, service)
    assert status["Uid"].split()[0] != "0"
    assert {status[name].strip("0") for name in ("CapBnd", "CapEff", "CapAmb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_watcher_has_no_network_but_its_own_loopback(world):
    links = world.machine.run(
        "nsenter", "--target", pid(world, "homeplate-watch"), "--net", "ip", "-oneline", "link"
    )
    assert re.findall(r"^\d+: (\w+)", links, re.MULTILINE) == ["lo"]


def test_each_service_has_its_own_keys_and_no_others(world):
    world.play()
    seen = {}
    for service in SERVICES:
        folder = f"/run/credentials/{service}.service"
        seen[service] = world.machine.run(
            "nsenter", "--target", pid(world, service), "--mount", "ls", folder
        ).split()
        closed = world.machine.run(
            "nsenter", "--target", pid(world, service), "--mount", "--setuid", "65534",
            "ls", "/etc/homeplate/credentials", check=False,
        )  # fmt: skip
        assert "denied" in closed
    assert seen == {
        "homeplate-watch": ["watch.key"],
        "homeplate-send": ["send.key", "tls.crt", "tls.key"],
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_comes_back(world, service):
    world.play()
    before = restarts(world, service)
    signal_service(world, service, signal.SIGKILL)
    await_true(lambda: restarts(world, service) > before, "systemd starts it again")
    await_true(lambda: is_active(world, service), "it is ready again")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_hangs_is_ended_by_the_watchdog_and_comes_back(world, service):
    world.play()
    before = restarts(world, service)
    signal_service(world, service, signal.SIGSTOP)
    await_true(lambda: restarts(world, service) > before, "the watchdog ends it")
    await_true(lambda: is_active(world, service), "it is ready again")
    told = [
        line for line in world.machine.journal("--unit", service).splitlines() if "atchdog" in line
    ]
    print("\n".join(told[-3:]))
    assert any("Watchdog timeout" in line for line in told)


def test_a_pulled_cable_loses_nothing(world):
    world.play()
    world.network.pull()
    before, sealed = world.sender()["failures"], world.watcher()["sealed"]
    await_true(lambda: world.sender()["failures"] > before, "the sender notices")
    await_true(lambda: world.watcher()["sealed"] > sealed, "the watcher goes on")
    world.network.plug_in()
    sent = world.sender()["frames_uploaded"]
    await_true(lambda: world.sender()["frames_uploaded"] > sent, "what waited is sent")


def test_a_reboot_and_a_cut_of_the_power_lose_nothing(world):
    world.play()
    for end in (world.machine.switch_off, world.machine.cut_power):
        end()
        world.machine.switch_on()
        await_true(lambda: world.sender().get("frames_uploaded", 0) > 0, "it sends again")
    judged = world.audit()
    print(judged)
    assert "recorded" in judged


def test_a_service_that_keeps_failing_reboots_the_unit_three_times_at_most(world, tmp_path):
    world.machine.run("systemctl", "stop", *SERVICES)
    script, budget = "/usr/lib/homeplate/reboot-in-budget", "/run/budget"
    world.machine.run("sh", "-c", MAKE_FAKE)
    given = "PATH=/run/fake:$PATH MONITOR_SERVICE_RESULT="
    answers = [
        world.machine.run("sh", "-c", f"{given}{result} {script} {budget} 3", check=False)
        for result in ("exit-code", *["start-limit-hit"] * 5)
    ]
    assert ["told to reboot" in answer for answer in answers] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_systemd_gives_a_service_up_and_asks_for_a_reboot(world):
    """After 20 failed starts in 10 minutes; here 2."""
    machine = world.machine
    machine.run("sh", "-c", MAKE_FAKE)
    for unit, lines in {
        "homeplate-reboot@.service": "[Service]\\nEnvironment=PATH=/run/fake:/usr/bin:/bin\\n",
        "homeplate-watch.service": "[Unit]\\nStartLimitBurst=2\\n",
    }.items():
        folder = f"/run/systemd/system/{unit}.d"
        machine.run("sh", "-c", f"mkdir -p {folder}; printf '{lines}' >{folder}/test.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "homeplate-watch")
    try:
        for _ in range(3):
            await_true(lambda: pid(world, "homeplate-watch") or not is_alive(world), "it starts")
            if pid(world, "homeplate-watch"):
                signal_service(world, "homeplate-watch", signal.SIGKILL)
            await_true(
                lambda: not pid(world, "homeplate-watch") or is_active(world, "homeplate-watch"),
                "it ends",
            )
        await_true(
            lambda: "told to reboot" in machine.journal("-u", "homeplate-reboot@homeplate-watch"),
            "a reboot is asked for",
        )
    finally:
        machine.run(
            "sh",
            "-c",
            "rm -rf /run/systemd/system/homeplate-*.d/test.conf /var/lib/homeplate/reboots",
        )
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "reset-failed", "homeplate-watch")


def test_no_plate_and_no_key_is_in_the_journal(world):
    journal = world.machine.run("journalctl", "--no-pager", "--output=json")
    plates = {str(read["text"]) for read in world.received() if read.get("text")}
    assert plates
    assert not [plate for plate in plates if plate in journal]
    assert "PRIVATE KEY" not in journal


def test_nothing_of_ours_was_written_outside_its_own_folder(world):
    upper = world.machine.card / "upper"
    ours = ("var/lib/homeplate", "etc/homeplate", "boot/firmware")
    users = {int(world.machine.run("id", "-u", name)) for name in SERVICES}
    strangers = [
        str(path.relative_to(upper))
        for path in upper.rglob("*")
        if path.lstat().st_uid in users and not str(path.relative_to(upper)).startswith(ours)
    ]
    assert strangers == []
    assert list(upper.glob("var/log/journal/**/*.journal")) == []


def test_a_full_disk_stops_neither_service_and_is_accounted_for(world):
    """On a small disk of its own, which takes along what is left on it: so it comes last."""
    machine = world.machine
    machine.run("systemctl", "stop", *SERVICES)
    machine.run(
        "mount", "-t", "tmpfs", "-o", "size=512k,mode=750", "tmpfs", "/var/lib/homeplate/spool"
    )
    machine.run("chown", "homeplate-watch:homeplate", "/var/lib/homeplate/spool")
    try:
        machine.run("sh", "-c", "head -c 500k /dev/zero >/var/lib/homeplate/spool/filler || true")
        machine.run("systemctl", "start", *SERVICES)
        await_true(lambda: world.watcher().get("dropped", 0) > 0, "reads are dropped and counted")
        assert all(is_active(world, service) for service in SERVICES)
        machine.run("rm", "/var/lib/homeplate/spool/filler")
        sealed = world.watcher()["sealed"]
        await_true(lambda: world.watcher()["sealed"] > sealed, "it keeps reads again")
        sent = world.sender().get("frames_uploaded", 0)
        await_true(lambda: world.sender()["frames_uploaded"] > sent, "they are sent")
    finally:
        machine.run("systemctl", "stop", *SERVICES)
        machine.run("sh", "-c", "until umount /var/lib/homeplate/spool; do sleep 1; done")
