"""The watcher's way to the hotlist: ask for it, open what came, check it, index it.

The sealed list is a file in the exchange folder, a tmpfs. It opens with a key that this process
drew in memory, so a stolen unit holds a list that nobody can read. Opening a long list takes longer
than a frame: it is done beside the road, and the finished index is handed over in one step.
"""

import logging
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.base.clock import Clock, to_ms
from agent.base.errors import ConfigError, CredentialError, IntegrityError
from agent.base.files import (
    SHARED_MODE,
    read_bounded,
    read_handed,
    replace_unsynced,
    write_whole,
)
from agent.base.memory import return_freed
from agent.gate import EMPTY_HOTLIST, Hotlist, index_hotlist
from agent.pipeline.exchange import REQUEST_FILE, SEALED_FILE
from agent.trust.entries import HotlistSeen
from agent.trust.envelope import Decrypter
from agent.trust.hotlist import (
    HOTLIST_LIMIT_BYTES,
    REQUEST_LIMIT_BYTES,
    open_hotlist,
    require_current,
    require_entries,
    require_purposes,
    unpack_columns,
    unseal_hotlist,
)
from agent.trust.signatures import PublicKey

log = logging.getLogger(__name__)

VERSION_FILE: Final = "hotlist-version"
LOOK_INTERVAL_NS: Final = 1_000_000_000
"""How often the watcher looks for a list that came."""
VERSION_LIMIT_BYTES: Final = 128
OTHERS_SPAN_NS: Final = 600_000_000_000
"""So long an older start's list may lie there before it is a refusal: the sender brings another
within seconds of a new request, unless it cannot reach the city."""
DETAIL_LIMIT: Final = 200
"""Characters that the log has room for."""
_HASH_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    """What the city decided about hotlists."""

    keys: tuple[tuple[str, PublicKey], ...]
    """That may sign them, each with the agency that has it."""
    purposes: tuple[str, ...]
    """Codes that entries may be for."""
    entries: int
    """Most that a list may have."""

    def allows(self, taken: "Taken") -> bool:
        """Tell whether a list that was taken may stay in use."""
        purposes = set(taken.purposes) <= set(self.purposes)
        return bool(self.agency(taken.key_id)) and purposes and len(taken.hotlist) <= self.entries

    def agency(self, key_id: bytes) -> str | None:
        """Return who has the key, None where nobody may sign with it."""
        return next((name for name, key in self.keys if key.key_id == key_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The signed request of this start and the key in memory that opens its answer."""

    request: bytes = field(repr=False)
    key: Decrypter


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is remembered of the newest list: nobody can find out from it what stands in the list.

    The hash is over the signature too, which holds a random number: no plate can be tried on it.
    """

    version: int
    """0 = there was none."""
    sha256: str
    """Of the signed list, hexadecimal; empty where it is not known any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A list that was opened and checked."""

    hotlist: Hotlist
    mark: Mark
    key_id: bytes
    """Of the key that signed it."""
    purposes: tuple[str, ...]


NO_MARK: Final = Mark(version=0, sha256="")


class HotlistPickup:
    """Takes lists from the exchange folder, one after the other, each at most once.

    Args:
        wish: Of this start.
        rules: Of the policy.
        exchange: Folder that the sender shares; a tmpfs.
        memory: Folder in which the mark of the newest list that was taken is kept.
        clock: Never runs back.
        executor: Runs one job beside the road.
        logged_version: The highest version that the log says was taken: nothing less is, also
            where the mark is gone.
    """

    def __init__(  # noqa: PLR0913  one argument an edge
        self,
        *,
        wish: Wish,
        rules: ListRules,
        exchange: Path,
        memory: Path,
        clock: Clock,
        executor: Executor,
        logged_version: int = 0,
    ) -> None:
        self.hotlist = EMPTY_HOTLIST
        """The newest list that holds; it may have expired since."""
        self.refusals = 0
        """Lists that were refused since the start."""
        self.refused = ""
        """Why the last one was; empty once a list was taken after it."""
        self._wish, self._rules = wish, rules
        self._exchange, self._memory = exchange, memory / VERSION_FILE
        self._clock, self._executor = clock, executor
        self._newest = read_mark(self._memory)
        self._lost = ""
        """What is to be told of a mark that was lost."""
        if self._newest.version < logged_version:
            self._newest = Mark(version=logged_version, sha256="")
            self._lost = f"memory: {VERSION_FILE} is gone or older; no list below {logged_version}"
        self._looked_ns: int | None = None
        self._stamp: tuple[int, ...] = ()
        self._told = ""
        self._taken: tuple[Taken, tuple[int, ...]] | None = None
        self._job: Future[Taken] | None = None
        self._others_ns: int | None = None
        """Since when only lists come that are sealed for another start."""
        self._others_detail = ""

    def follow(self, rules: ListRules) -> None:
        """Hold all lists against another policy.

        The one in use stays without a gap where the policy still allows its signer, all its
        purposes and its length. What was refused is judged anew.
        """
        self._rules, self._job = rules, None
        if self._taken is not None:
            taken, stamp = self._taken
            if rules.allows(taken):
                self._stamp = stamp
                return
        self._stamp, self._taken, self.hotlist = (), None, EMPTY_HOTLIST

    def look(self) -> tuple[HotlistSeen, ...]:
        """Take a list that came, or say why not; to be asked before every frame.

        Returns:
            For the log: each list that was taken, and each refusal once. After a list was taken
            `hotlist` is another; after a refusal it is the same.
        """
        if self._lost:
            lost, self._lost = self._lost, ""
            return self._refuse(lost)
        if self._job is not None:
            return self._finish(self._job) if self._job.done() else ()
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is not None and now_ns - self._looked_ns < LOOK_INTERVAL_NS:
            return ()
        self._looked_ns = now_ns
        self._ask()
        if self._others_ns is not None and now_ns - self._others_ns >= OTHERS_SPAN_NS:
            self._others_ns = None
            return self._refuse(self._others_detail)
        stamp = read_stamp(self._exchange / SEALED_FILE)
        if stamp and stamp != self._stamp:
            self._stamp = stamp
            self._job = self._executor.submit(self._load, to_ms(self._clock.now()))
        return ()

    def _ask(self) -> None:
        """See to it that the request lies in the folder; the sender's restart may empty it."""
        path = self._exchange / REQUEST_FILE
        try:
            lying = read_handed(path, limit_bytes=REQUEST_LIMIT_BYTES)
        except ConfigError:  # the sender's doing, and no reason to stop
            lying = None
        if lying != self._wish.request:
            with suppress(OSError):  # no folder: then no list, and the health says so
                replace_unsynced(path, self._wish.request)

    def _load(self, now_ms: int) -> Taken:
        """Open, check and index the file; runs beside the road."""
        path = self._exchange / SEALED_FILE
        sealed = read_handed(path, limit_bytes=HOTLIST_LIMIT_BYTES) or b""
        signed = unseal_hotlist(sealed, self._wish.request, self._wish.key)
        head = open_hotlist(signed, [key for _, key in self._rules.keys])
        mark = Mark(version=head.version, sha256=sha256(signed).hexdigest())
        require_newer(mark, self._newest)
        require_current(head, now_ms=now_ms)
        require_purposes(head, self._rules.purposes)
        require_entries(head, self._rules.entries)
        hotlist = index_hotlist(head, unpack_columns(head))
        taken = Taken(hotlist=hotlist, mark=mark, key_id=head.key_id, purposes=head.purposes)
        del sealed, signed, head
        return_freed()
        return taken

    def _finish(self, job: "Future[Taken]") -> tuple[HotlistSeen, ...]:
        """Take the list that was opened, or say why it is none."""
        self._job = None
        try:
            taken = job.result()
            self._remember(taken.mark)
        except CredentialError as error:  # an older start's: the sender brings another
            if not self._others_detail:
                self._others_ns, self._others_detail = self._clock.monotonic_ns(), str(error)
            return ()
        except (ConfigError, IntegrityError) as error:
            return self._refuse(str(error))
        self.hotlist = hotlist = taken.hotlist
        self._others_ns, self._others_detail = None, ""
        self._taken, self.refused, self._told = (taken, self._stamp), "", ""
        log.info("hotlist in use", extra={"count": len(hotlist)})
        detail = f"signed by {self._rules.agency(taken.key_id)}"[:DETAIL_LIMIT]
        return (self._entry(hotlist.version, len(hotlist), accepted=True, detail=detail),)

    def _refuse(self, detail: str) -> tuple[HotlistSeen, ...]:
        self.refused = detail[:DETAIL_LIMIT]
        if detail == self._told:  # told already: a sender that brings it again and again
            return ()
        self._told = detail
        self.refusals += 1
        log.error("hotlist refused", extra={"detail": detail})
        return (self._entry(0, 0, accepted=False, detail=self.refused),)

    def _remember(self, mark: Mark) -> None:
        """Keep the mark, so that no older or other list is taken after a restart either."""
        if mark == self._newest:
            return
        self._newest = mark
        try:
            self._memory.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            content = f"{mark.version} {mark.sha256}\n".encode()
            write_whole(self._memory, content, mode=SHARED_MODE)
        except OSError as error:
            log.error("hotlist version not kept", extra={"detail": str(error.strerror)})  # noqa: TRY400

    def _entry(self, version: int, count: int, *, accepted: bool, detail: str) -> HotlistSeen:
        at_ms = to_ms(self._clock.now())
        return HotlistSeen(
            at_ms=at_ms, version=version, count=count, accepted=accepted, detail=detail
        )


def require_newer(found: Mark, newest: Mark) -> Mark:
    """Return the mark of a list that is newer than all before, or the very one that was taken.

    Raises:
        IntegrityError: A list with a higher version, or another with this one, was taken before.
    """
    if found.version < newest.version:
        message = f"hotlist: version {found.version} was replaced by {newest.version} before"
        raise IntegrityError(message)
    if newest.sha256 and found.version == newest.version and found != newest:
        message = f"hotlist: another list with version {found.version} was taken before (a fork); "
        message += "sign it with a higher version"
        raise IntegrityError(message)
    return found


def read_mark(path: Path) -> Mark:
    """Return the mark of the newest list that was taken.

    Raises:
        IntegrityError: The file holds something else.
    """
    if not path.exists():
        return NO_MARK
    content = read_bounded(path, limit_bytes=VERSION_LIMIT_BYTES)
    words = content.decode("ascii", "replace").split()
    if not _is_mark(words):
        message = (
            f"{path}: holds no version; remove it and take a list of the city's newest version"
        )
        raise IntegrityError(message)
    return Mark(version=int(words[0]), sha256=words[1])


def _is_mark(words: list[str]) -> bool:
    """Tell whether these are a version and a hash."""
    if len(words) != 2:  # noqa: PLR2004 -- a mark has two fields
        return False
    version, digest = words
    hexadecimal = len(digest) == _HASH_DIGITS and not digest.strip("0123456789abcdef")
    return version.isascii() and version.isdigit() and hexadecimal


def read_stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced, nothing where there is none."""
    try:
        state = path.stat(follow_symlinks=False)
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns
