"""`homeplate bench hotlist`: how long a list takes to load, a plate to look up, and the memory.

The list is made up. Its way is the real one: sealed to a key in memory, opened, its signature
verified, unpacked, checked and indexed.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from agent.base.memory import return_freed
from agent.gate import Hotlist, index_hotlist
from agent.trust.hotlist import (
    ENTRIES_LIMIT,
    PLATE_CHARACTERS,
    Columns,
    HotlistRequest,
    SignedHotlist,
    open_hotlist,
    pack_columns,
    seal_hotlist,
    sign_hotlist,
    sign_request,
    unpack_columns,
    unseal_hotlist,
)
from agent.trust.keys import Opener, generate_opener, generate_signer
from agent.trust.signatures import PublicKey

LIMIT_BROKEN: Final = 1
LIMITS: Final = {
    "load_s": 3.0,
    "find_hit_us": 50.0,
    "find_miss_us": 50.0,
    "memory_mb": 64.0,
    "grown_mb": 64.0,
}
"""What a list of a million entries may take. The watcher goes on seeing while it loads; a look-up
is a small part of a frame; a watcher has 200 MiB in all. CPU time of one thread: a busy machine
breaks nothing. A server takes a third of it, the rest is for units."""
LETTERS: Final = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", np.uint8)
CHARACTERS: Final = 7
NOW_MS: Final = 1_790_000_000_000
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A list as it arrives, and what opens it."""

    content: bytes
    request: bytes
    opener: Opener
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured on this machine."""

    entries: int
    sealed_mb: float
    load_s: float
    """CPU of one thread, from the sealed file's bytes to the index."""
    find_hit_us: float
    """CPU of a look-up, mean: from the text of a listed plate to its entries."""
    find_miss_us: float
    memory_mb: float
    """The index."""
    grown_mb: float
    """Resident memory of the process after loading less before."""
    peak_mb: float
    """Highest resident memory of the process while loading less before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--entries", type=int, default=1_000_000, metavar="N", help="(1,000,000)")
    parser.add_argument("--lookups", type=int, default=20_000, metavar="N", help="(20,000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 where a figure is over its limit."""
    entries = min(max(args.entries, 1), ENTRIES_LIMIT)
    figures = measure(entries, lookups=max(args.lookups, 1), seed=args.seed)
    return report(figures, as_json=args.json)


def report(figures: Figures, *, as_json: bool) -> int:
    """Print the figures; return 0 where all are within their limits."""
    over = [name for name, limit in LIMITS.items() if getattr(figures, name) > limit]
    if as_json:
        print(json.dumps({**asdict(figures), "limits": LIMITS, "over": over}))
        return LIMIT_BROKEN if over else 0
    for name, key, digits, unit in (
        ("entries", "entries", 0, ""),
        ("sealed list", "sealed_mb", 1, "MB"),
        ("load, sealed to index", "load_s", 2, "s CPU"),
        ("look-up, a hit", "find_hit_us", 1, "µs CPU"),
        ("look-up, no hit", "find_miss_us", 1, "µs CPU"),
        ("index", "memory_mb", 1, "MB"),
        ("process grown by", "grown_mb", 1, "MB"),
        ("  while loading", "peak_mb", 1, "MB"),
    ):
        limit = f"at most {LIMITS[key]:g}" if key in LIMITS else ""
        limit += ": OVER" if key in over else ""
        print(f"{name:<24}{getattr(figures, key):>12,.{digits}f} {unit:<8}{limit}".rstrip())
    return LIMIT_BROKEN if over else 0


def measure(entries: int, *, lookups: int, seed: int) -> Figures:
    """Return the figures for a list of so many made-up entries."""
    random = np.random.default_rng(seed)
    sealed = _seal(entries, random)
    return_freed()
    before_mb = _resident_mb()
    _forget_peak()
    begin_ns = time.thread_time_ns()
    hotlist = load(sealed)
    load_s = (time.thread_time_ns() - begin_ns) / 1e9
    peak_mb = _resident_mb("VmHWM")
    return_freed()
    after_mb = _resident_mb()
    rows = random.integers(0, len(hotlist), lookups)
    hits = [plate.decode() for plate in hotlist.plates[rows].tolist()]
    misses = [f"{plate[:-1]}{'AB'[plate[-1] == 'A']}" for plate in hits]
    return Figures(
        entries=len(hotlist),
        sealed_mb=len(sealed.content) / 1e6,
        load_s=load_s,
        find_hit_us=_time_finds(hotlist, hits),
        find_miss_us=_time_finds(hotlist, misses),
        memory_mb=hotlist.size_bytes / 1e6,
        grown_mb=after_mb - before_mb,
        peak_mb=peak_mb - before_mb,
    )


def load(sealed: Sealed) -> Hotlist:
    """Return the index of a list that came: the watcher's way, but for time and purposes."""
    signed = unseal_hotlist(sealed.content, sealed.request, sealed.opener)
    head = open_hotlist(signed, (sealed.key,))
    return index_hotlist(head, unpack_columns(head))


def make_columns(entries: int, random: np.random.Generator) -> Columns:
    """Return made-up entries: plates of seven characters, cases as agencies number them."""
    plates = np.zeros((entries, PLATE_CHARACTERS), np.uint8)
    plates[:, :CHARACTERS] = LETTERS[random.integers(0, len(LETTERS), (entries, CHARACTERS))]
    cases = [b"26-%07d" % number for number in random.integers(0, 10_000_000, entries).tolist()]
    ends = np.cumsum([len(case) for case in cases])
    expiries = (NOW_MS + random.integers(1, 30, entries) * DAY_MS) // 60_000
    return Columns(
        plates=np.sort(plates.view(f"S{PLATE_CHARACTERS}").ravel()).tobytes(),
        states=_draw(random, entries, 3, np.uint8),
        purposes=_draw(random, entries, 2, np.uint8),
        agencies=_draw(random, entries, 3, np.uint16),
        expiries=expiries.astype("<u4").tobytes(),
        case_ends=ends.astype("<u4").tobytes(),
        cases=b"".join(cases),
    )


def make_head(entries: int, columns: Columns) -> SignedHotlist:
    """Return what a made-up list says of itself."""
    return SignedHotlist(
        version=1,
        issued_ms=NOW_MS,
        expires_ms=NOW_MS + DAY_MS,
        count=entries,
        states=("", "CA", "NV"),
        purposes=("missing-person", "stolen-vehicle"),
        agencies=("County Sheriff", "Highway Patrol", "Police Department"),
        columns=pack_columns(columns),
    )


def _draw(
    random: np.random.Generator, entries: int, below: int, kind: type[np.unsignedinteger]
) -> bytes:
    return random.integers(0, below, entries).astype(kind).tobytes()


def _seal(entries: int, random: np.random.Generator) -> Sealed:
    opener, signer, watcher = generate_opener(), generate_signer(), generate_signer()
    signed = sign_hotlist(signer, make_head(entries, make_columns(entries, random)))
    request = sign_request(
        watcher,
        HotlistRequest(unit="bench", boot=bytes(16), key=opener.public_key, made_ms=NOW_MS),
    )
    return Sealed(
        content=seal_hotlist(signed, request, opener.public_key),
        request=request,
        opener=opener,
        key=signer.public_key,
    )


def _time_finds(hotlist: Hotlist, plates: Sequence[str]) -> float:
    """Return the mean CPU time of a look-up in microseconds."""
    begin_ns = time.thread_time_ns()
    for plate in plates:
        hotlist.find(plate, now_ms=NOW_MS)
    return (time.thread_time_ns() - begin_ns) / len(plates) / 1000


def _resident_mb(name: str = "VmRSS") -> float:
    """Return a figure of this process's memory; where /proc is missing, its highest so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _forget_peak() -> None:
    """Let the highest resident memory be counted from now on (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
