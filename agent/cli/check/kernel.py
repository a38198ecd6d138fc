"""Does anything of ours listen, and can memory reach a disk?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.cli.check.findings import AS_ROOT, Finding, bad, doubt, good, unknown
from agent.cli.machine import Machine

SERVICES: Final = ("watch", "send", "run", "aim")
"""Commands that run for long."""
LISTENING: Final = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""Table of /proc/net → state of a socket that anybody may speak to."""
NOWHERE: Final = "0"
ACCEPTING: Final = 0x10000
"""__SO_ACCEPTCON in /proc/net/unix: a socket that listens."""
STARTING_S: Final = 10.0
"""A process forbids its cores before anything else of ours; Python itself takes its time first."""
IN_MEMORY: Final = ("/dev/zram", "/zram")
HARMLESS: Final = ("", "|/bin/false", "|/usr/bin/false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One of our processes."""

    pid: int
    command: str


def look_at_kernel(machine: Machine) -> Iterator[Finding]:
    """Answer HP-405 to HP-407."""
    processes = list_processes(machine)
    yield judge_sockets(machine, processes)
    yield judge_swap(machine.read("proc/swaps"))
    yield judge_cores(machine, processes)


def list_processes(machine: Machine) -> tuple[Process, ...]:
    """Return our running services, by their command lines."""
    found = []
    for name in machine.names("proc"):
        if name.isdigit():
            words = (machine.read(f"proc/{name}/cmdline") or "").split("\0")
            command = find_command(words)
            found += [Process(pid=int(name), command=command)] if command else []
    return tuple(found)


def find_command(words: list[str]) -> str:
    """Return the service that a command line starts, empty where it is none of ours."""
    for place, word in enumerate(words[:-1]):
        is_ours = word.rsplit("/", 1)[-1] == "homeplate" or words[place - 1 : place + 1] == [
            "-m",
            "agent",
        ]
        if is_ours and words[place + 1] in SERVICES:
            return words[place + 1]
    return ""


def judge_sockets(machine: Machine, processes: tuple[Process, ...]) -> Finding:
    """Judge HP-405."""
    if not processes:
        return unknown("HP-405", "no service of ours runs", remedy="start them and check again")
    found: list[str] = []
    for process in processes:
        folder = f"proc/{process.pid}/fd"
        links = [machine.link(f"{folder}/{name}") for name in machine.names(folder)]
        if not any(links):
            why = f"the sockets of {process.command} ({process.pid}) may not be seen"
            return unknown("HP-405", why, remedy=AS_ROOT)
        own = {link[8:-1] for link in links if link and link.startswith("socket:[")}
        found += [f"{process.command}: {text}" for text in list_listening(machine, process, own)]
    if found:
        return bad("HP-405", "; ".join(found))
    names = ", ".join(f"{process.command} ({process.pid})" for process in processes)
    return good("HP-405", f"none of {names}")


def list_listening(machine: Machine, process: Process, own: set[str]) -> list[str]:
    """Return the listening sockets among those with the inodes `own`."""
    found = []
    for table, state in LISTENING.items():
        for line in (machine.read(f"proc/{process.pid}/net/{table}") or "").splitlines()[1:]:
            fields = line.split()
            to_nobody = fields[2].rsplit(":", 1)[1].strip("0") == ""
            if fields[9] in own and fields[3] == state and to_nobody:
                found.append(f"{table} port {int(fields[1].rsplit(':', 1)[1], 16)}")
    for line in (machine.read(f"proc/{process.pid}/net/unix") or "").splitlines()[1:]:
        fields = line.split()
        if fields[6] in own and int(fields[3], 16) & ACCEPTING:
            found.append(f"unix {' '.join(fields[7:]) or 'without a name'}")
    return found


def judge_swap(table: str | None) -> Finding:
    """Judge HP-406."""
    if table is None:
        return unknown("HP-406", "the kernel does not tell")
    areas = [line.split()[0] for line in table.splitlines()[1:] if line.split()]
    on_disk = [area for area in areas if not area.startswith(IN_MEMORY)]
    if on_disk:
        return bad("HP-406", f"{', '.join(on_disk)}: plates in memory may be written there")
    return good("HP-406", f"compressed in memory: {', '.join(areas)}" if areas else "none")


def judge_cores(machine: Machine, processes: tuple[Process, ...]) -> Finding:
    """Judge HP-407."""
    for process in processes:
        limits = (machine.read(f"proc/{process.pid}/limits") or "").splitlines()
        cores = [line for line in limits if line.startswith("Max core file size")]
        age_s = machine.age_s(process.pid)
        begins = age_s is not None and age_s < STARTING_S
        if cores and cores[0].split()[4:6] != ["0", "0"] and not begins:
            return bad("HP-407", f"{process.command} ({process.pid}) may leave a core")
    pattern = machine.read("proc/sys/kernel/core_pattern")
    if pattern is None:
        return unknown("HP-407", "the kernel does not tell where cores go")
    if pattern in HARMLESS:
        return good("HP-407", "written nowhere")
    ours = "our running services forbid theirs" if processes else "our services forbid theirs"
    found = f"{ours}; those of other programs go to {pattern!r}"
    return good("HP-407", found) if not pattern.startswith("|") else doubt("HP-407", found)
