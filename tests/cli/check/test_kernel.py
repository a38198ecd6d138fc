"""Sockets, swap and cores: from real processes, and from tables of the kernel written down."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.check.findings import Level
from agent.cli.check.kernel import (
    Process,
    find_command,
    judge_cores,
    judge_sockets,
    judge_swap,
    list_listening,
    list_processes,
)
from agent.cli.machine import Machine

LISTEN = """
import socket, sys
tcp = socket.create_server(("127.0.0.1", 0))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0))
far = socket.create_connection(tcp.getsockname())
unix = socket.socket(socket.AF_UNIX); unix.bind("\\0homeplate-test-%d" % tcp.getsockname()[1])
unix.listen()
print(tcp.getsockname()[1], udp.getsockname()[1], flush=True)
sys.stdin.read()
"""
QUIET = """
import socket, sys
pair = socket.socketpair()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start():
    """Start a program that looks like our watcher from outside; it ends with the test."""
    running = []

    def begin(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code, "/usr/bin/homeplate", "watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, process.stdout.readline().split()

    yield begin
    for process in running:
        process.communicate()


def test_a_process_that_listens_is_found_with_its_ports(start):
    process, (tcp_port, udp_port) = start(LISTEN)
    (found,) = (item for item in list_processes(Machine()) if item.pid == process.pid)
    finding = judge_sockets(Machine(), (found,))
    assert finding.level is Level.BAD
    assert finding.exit_code == 65
    assert finding.found.count("watch:") == 3
    assert f"tcp port {tcp_port}" in finding.found
    assert f"udp port {udp_port}" in finding.found
    assert "unix @homeplate-test" in finding.found


def test_a_process_with_connections_alone_does_not_listen(start):
    process, _ = start(QUIET)
    finding = judge_sockets(Machine(), (Process(pid=process.pid, command="watch"),))
    assert (finding.level, finding.found) == (Level.GOOD, f"none of watch ({process.pid})")


def test_without_a_service_nothing_is_claimed():
    assert judge_sockets(Machine(), ()).level is Level.UNKNOWN


def test_what_may_not_be_seen_is_not_called_good(tmp_path):
    (tmp_path / "proc/7").mkdir(parents=True)
    finding = judge_sockets(Machine(tmp_path), (Process(pid=7, command="send"),))
    assert finding.level is Level.UNKNOWN
    assert "root" in finding.remedy


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/opt/homeplate/bin/python\0/opt/homeplate/bin/homeplate\0watch\0--config\0a", "watch"),
        ("/usr/bin/python3\0-m\0agent\0send\0", "send"),
        ("homeplate\0check\0", ""),
        ("/usr/bin/python3\0-m\0other\0watch\0", ""),
        ("vim\0homeplate.txt\0watch\0", ""),
        ("", ""),
    ],
)
def test_our_services_are_known_by_their_command_lines(line, command):
    assert find_command(line.split("\0")) == command


def test_sockets_of_others_in_the_same_table_do_not_count(tmp_path):
    table = tmp_path / "proc/7/net"
    table.mkdir(parents=True)
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  inode\n"
    )
    row = "   0: 0100007F:{port:04X} 00000000:0000 {state} 0:0 00:0 0 0 0 {inode} 1\n"
    (table / "tcp").write_text(
        head
        + row.format(port=22, state="0A", inode=11)
        + row.format(port=8443, state="0A", inode=12)
        + row.format(port=9000, state="01", inode=13)
    )
    process = Process(pid=7, command="send")
    assert list_listening(Machine(tmp_path), process, {"12", "13"}) == ["tcp port 8443"]


SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.mark.parametrize(
    ("table", "level"),
    [
        (None, Level.UNKNOWN),
        (SWAPS, Level.GOOD),
        (SWAPS + "/dev/zram0 partition 1024 0 100\n", Level.GOOD),
        (SWAPS + "/var/swap file 1024 0 -2\n", Level.BAD),
        (SWAPS + "/dev/zram0 partition 1 0 100\n/dev/mmcblk0p3 partition 1 0 -2\n", Level.BAD),
    ],
)
def test_only_swap_in_memory_is_allowed(table, level):
    assert judge_swap(table).level is level


def test_the_age_of_a_process_is_told(start, tmp_path):
    process, _ = start(QUIET)
    assert 0 <= Machine().age_s(process.pid) < 60
    assert Machine(tmp_path).age_s(process.pid) is None


def test_a_process_that_just_begins_has_time_to_forbid_its_cores(tmp_path):
    machine = machine_with_cores(tmp_path, pattern="core", limit="unlimited")
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / "proc/uptime").write_text("1000.00 1.00\n")
    for age_s, level in ((3, Level.GOOD), (30, Level.BAD)):
        fields = ["S", *["0"] * 18, str((1000 - age_s) * ticks), "0"]
        (tmp_path / "proc/7/stat").write_text(f"7 (a ) b) {' '.join(fields)}\n")
        assert judge_cores(machine, (Process(pid=7, command="watch"),)).level is level


def machine_with_cores(tmp_path: Path, *, pattern: str, limit: str = "0") -> Machine:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/core_pattern").write_text(pattern + "\n")
    (tmp_path / "proc/7").mkdir()
    text = f"Limit\nMax core file size        {limit}                    {limit}         bytes\n"
    (tmp_path / "proc/7/limits").write_text(text)
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "limit", "level"),
    [
        ("|/bin/false", "0", Level.GOOD),
        ("core", "0", Level.GOOD),
        ("|/usr/share/apport/apport %p", "0", Level.DOUBT),
        ("core", "unlimited", Level.BAD),
    ],
)
def test_a_service_that_may_leave_a_core_is_wrong(tmp_path, pattern, limit, level):
    machine = machine_with_cores(tmp_path, pattern=pattern, limit=limit)
    assert judge_cores(machine, (Process(pid=7, command="watch"),)).level is level
