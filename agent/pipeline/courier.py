"""The sender's way with the hotlist: carry a request to the city and the sealed answer back.

It can open neither. It asks again and again with the same request; the endpoint answers with the
list only when there is a new one, or the watcher has started anew and asks with another key.
"""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.base.clock import Clock
from agent.base.errors import ConfigError, UplinkError
from agent.base.files import read_handed, replace_unsynced
from agent.pipeline.city import City
from agent.pipeline.exchange import REQUEST_FILE, SEALED_FILE
from agent.trust.answers import Answer
from agent.trust.hotlist import HOTLIST_LIMIT_BYTES, REQUEST_LIMIT_BYTES

log = logging.getLogger(__name__)

PATH: Final = "/v1/hotlist"
MEDIA_TYPE: Final = "application/cbor"
ASK_INTERVAL_NS: Final = 30_000_000_000
"""How often the city is asked for a newer list: a look-out is on its units within a minute."""
OK: Final = 200


class HotlistCourier:
    """Carries requests and sealed lists between the exchange folder and the city's endpoint."""

    def __init__(self, folder: Path, uplink: City, clock: Clock) -> None:
        self._folder, self._uplink, self._clock = folder, uplink, clock
        self._request = b""
        self._tag = ""
        self._asked_ns: int | None = None

    def work(self) -> None:
        """Ask the city when it is time: at once for a new request, else now and then.

        A failure is logged and tried again; it holds up no frames.

        Raises:
            CredentialError: The city does not accept this unit's certificate.
        """
        request = self._read_request()
        if not request:
            return
        now_ns = self._clock.monotonic_ns()
        if request != self._request:
            self._request, self._tag, self._asked_ns = request, "", None
        if self._asked_ns is not None and now_ns - self._asked_ns < ASK_INTERVAL_NS:
            return
        self._asked_ns = now_ns
        try:
            self._take(self._ask(request))
        except (OSError, UplinkError) as error:
            log.warning("hotlist not fetched", extra={"detail": str(error)})

    def _read_request(self) -> bytes:
        with suppress(ConfigError):  # nothing that a watcher of ours wrote
            path = self._folder / REQUEST_FILE
            return read_handed(path, limit_bytes=REQUEST_LIMIT_BYTES) or b""
        return b""

    def _ask(self, request: bytes) -> Answer:
        headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
        if self._tag and (self._folder / SEALED_FILE).exists():
            headers["If-None-Match"] = self._tag
        return self._uplink.exchange(
            "POST", PATH, request, headers=headers, limit_bytes=HOTLIST_LIMIT_BYTES
        )

    def _take(self, answer: Answer) -> None:
        """Lay a sealed list where the watcher looks for it; 204 and 304 bring none."""
        if answer.status == OK and answer.content:
            replace_unsynced(self._folder / SEALED_FILE, answer.content)
            self._tag = answer.headers.get("etag", "")
            log.info("sealed hotlist fetched")
