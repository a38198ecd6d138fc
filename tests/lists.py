"""Makers of hotlists for tests: plates, signed lists, requests and what opens them."""

from agent.base.clock import to_ms
from agent.gate import index_hotlist
from agent.trust.header import TIME_LIMIT_MS
from agent.trust.hotlist import HotlistRequest, open_hotlist, sign_request, unpack_columns
from agent.trust.hotlist_entries import HotlistEntry, ListTerms, sign_entries
from agent.trust.keys import generate_opener, generate_signer
from tests.fakes import NOON

CITY_SIGNER = generate_signer()
"""Signs the lists of these tests."""
HOUR_MS = 3_600_000
NOON_MS = to_ms(NOON)
FAR_MINUTE = TIME_LIMIT_MS // 60_000 - 1


def entry(plate, **changes):
    fields = {
        "plate": plate,
        "state": "CA",
        "purpose": "stolen-vehicle",
        "agency": "Police Department",
        "case": "26-0117",
        "expires_minute": FAR_MINUTE,
    }
    return HotlistEntry(**(fields | changes))


def terms(version=1, *, issued_ms=NOON_MS, life_ms=24 * HOUR_MS):
    return ListTerms(version=version, issued_ms=issued_ms, expires_ms=issued_ms + life_ms)


def sign_list(*entries, signer=CITY_SIGNER, **changes):
    """Return a signed list of entries or plates."""
    made = [one if isinstance(one, HotlistEntry) else entry(one) for one in entries]
    return sign_entries(signer, made, terms(**changes))[0]


def open_list(content, *, signer=CITY_SIGNER):
    """Return the index of a signed list, as a watcher makes it."""
    head = open_hotlist(content, (signer.public_key,))
    return index_hotlist(head, unpack_columns(head))


def make_list(*entries, **changes):
    """Return a hotlist in memory; one that holds for a long time unless told otherwise."""
    return open_list(sign_list(*entries, **changes))


def make_request(watcher, *, unit="unit-a", made_ms=NOON_MS, opener=None):
    """Return a signed request and the key that opens its answer."""
    opener = opener or generate_opener()
    request = HotlistRequest(unit=unit, boot=bytes(16), key=opener.public_key, made_ms=made_ms)
    return sign_request(watcher, request), opener


class FixedLists:
    """Stands for a way to the hotlist on which one list came long ago."""

    def __init__(self, hotlist):
        self.hotlist = hotlist

    def look(self):
        return ()
