"""A whole unit, booted: what it may do, what it does, how it comes back from what befalls it."""

import re
import signal

import pytest

from tests.system.conftest import UNIT, World, python
from tests.system.container import await_true

pytestmark = pytest.mark.system
SERVICES = ("homeplate-watch", "homeplate-send")
FAKE = "/run/fake/systemctl"
MAKE_FAKE = f"""mkdir -p /run/fake
cat >{FAKE} <<'END'
#!/bin/sh
if [ "$1" != reboot ]; then [ -n "$STATE" ] && echo "$STATE" || /usr/bin/systemctl "$@"; exit; fi
echo told to reboot
END
chmod +x {FAKE}"""
"""A `systemctl` that says what it was told in place of a reboot."""


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


@pytest.mark.parametrize(("service", "limit"), [("homeplate-watch", 1.0), ("homeplate-send", 1.5)])
def test_a_service_is_as_tight_as_promised(world, service, limit):
    """As systemd judges the units that it has loaded, drop-ins and all."""
    told = world.machine.run("systemd-analyze", "security", "--no-pager", service)
    line = next(line for line in told.splitlines() if "Overall exposure level" in line)
    print(line.removeprefix("→ "))
    assert float(re.findall(r": ([0-9.]+)", line)[0]) <= limit


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


def test_a_service_that_keeps_failing_reboots_the_unit_three_times_at_most(world):
    script, budget = "/usr/lib/homeplate/reboot-in-budget", "/run/budget"
    world.machine.run("sh", "-c", MAKE_FAKE)
    given = "PATH=/run/fake:$PATH MONITOR_UNIT=homeplate-watch.service"
    ends = [("activating", "9"), ("failed", "73"), ("failed", "78"), *[("failed", "69")] * 5]
    answers = [
        world.machine.run(
            "sh", "-c", f"STATE={state} MONITOR_EXIT_STATUS={status} {given} {script} {budget} 3",
            check=False,
        )
        for state, status in ends
    ]  # fmt: skip
    reboots = ["told to reboot" in answer for answer in answers]
    assert reboots == [False, False, False, True, True, True, False, False]


def test_systemd_gives_a_service_up_and_asks_for_a_reboot(world):
    """After 20 failed starts in 10 minutes; here 2."""
    machine = world.machine
    machine.run("sh", "-c", MAKE_FAKE)
    for unit, lines in {
        "homeplate-reboot@.service": "[Service]\\nEnvironment=PATH=/run/fake:/usr/bin STATE=\\n",
        "homeplate-watch.service": "[Unit]\\nStartLimitBurst=2\\n",
    }.items():
        folder = f"/run/systemd/system/{unit}.d"
        machine.run("sh", "-c", f"mkdir -p {folder}; printf '{lines}' >{folder}/limit.conf")
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
            "rm -rf /run/systemd/system/homeplate-*.d/limit.conf /var/lib/homeplate/reboots",
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
    """The whole state moves to a small disk and back, which takes a while: so it comes last."""
    machine, state = world.machine, "/var/lib/homeplate"
    machine.run("systemctl", "stop", *SERVICES)
    machine.run(
        "sh", "-c", f"cp -a {state} /run/held; mount -t tmpfs -o size=48m,mode=755 t {state}"
    )
    machine.run("sh", "-c", f"cp -a /run/held/. {state}; rm -r /run/held")
    world.play()
    machine.run("sh", "-c", f"head -c 48M /dev/zero >{state}/filler || true")
    room = machine.run("df", "--output=avail,pcent", state).split()
    print(f"{room[-2]} blocks left on the state disk, {room[-1]} used")
    await_true(lambda: world.watcher().get("dropped", 0) > 0, "reads are dropped and counted")
    before = {service: pid(world, service) for service in SERVICES}
    assert all(is_active(world, service) for service in SERVICES)
    machine.run("rm", f"{state}/filler")
    sealed, sent = world.watcher()["sealed"], world.sender().get("frames_uploaded", 0)
    await_true(lambda: world.watcher()["sealed"] > sealed, "it keeps reads again")
    await_true(lambda: world.sender()["frames_uploaded"] > sent, "they are sent")
    assert before == {service: pid(world, service) for service in SERVICES}
    print(f"{world.watcher()['dropped']} reads dropped, the same processes go on")
    machine.run("systemctl", "stop", *SERVICES)
    machine.run("sh", "-c", f"cp -a {state} /run/held; until umount {state}; do sleep 1; done")
    machine.run("sh", "-c", f"rm -r {state}/*; cp -a /run/held/. {state}")
    judged = world.audit()
    print(judged)
    assert int(re.findall(r"(?m)^reads .* ([0-9,]+) \+ +[0-9,]+ +BALANCES$", judged)[0]) > 0
