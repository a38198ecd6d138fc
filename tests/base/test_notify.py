"""The watchdog is fed by progress and by nothing else; no socket but systemd's own is used."""

import ast
import socket
from pathlib import Path

from agent.base import notify
from agent.base.notify import TELL_INTERVAL_NS, Progress, find_manager
from tests.fakes import FakeClock


def test_the_module_knows_one_family_of_sockets():
    tree = ast.parse(Path(notify.__file__).read_text())
    families = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("AF_")
    }
    made = [
        node.args[0].attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "socket.socket"
        if isinstance(node.args[0], ast.Attribute)
    ]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "socket"
    }
    assert families == {"AF_UNIX"}
    assert made == ["AF_UNIX"]
    assert used == {"socket", "AF_UNIX", "SOCK_DGRAM", "SOCK_NONBLOCK"}


def test_systemd_hears_the_state(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "HOME": "/"}
        find_manager(environment)("READY=1")
        assert manager.recv(100) == b"READY=1"
        assert environment == {"HOME": "/"}


def test_an_abstract_address_is_understood():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel draws an abstract name
        name = manager.getsockname()[1:].decode()
        find_manager({"NOTIFY_SOCKET": f"@{name}"})("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"


def test_nothing_is_told_without_systemd(tmp_path):
    find_manager({})("READY=1")
    find_manager({"NOTIFY_SOCKET": "vsock:2:1"})("READY=1")
    find_manager({"NOTIFY_SOCKET": str(tmp_path / "gone")})("READY=1")


def follow(steps: list[tuple[int, int]]) -> list[str]:
    """Return what is told when at these times (ns) so much is done."""
    told: list[str] = []
    clock = FakeClock()
    progress = Progress(told.append, clock)
    began_ns = clock.monotonic_ns()
    for at_ns, done in steps:
        clock.wait_s((began_ns + at_ns - clock.monotonic_ns()) / 1e9)
        progress.note(done, lambda: "numbers only")
    return told


def test_the_first_progress_says_ready():
    assert follow([(0, 1)]) == ["READY=1\nWATCHDOG=1\nSTATUS=numbers only"]


def test_who_does_nothing_feeds_no_watchdog():
    assert len(follow([(second * TELL_INTERVAL_NS, 7) for second in range(100)])) == 1


def test_progress_is_told_once_a_second_at_most():
    steps = [(tenth * TELL_INTERVAL_NS // 10, tenth) for tenth in range(100)]
    assert 9 <= len(follow(steps)) <= 11
