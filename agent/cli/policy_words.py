"""A policy in plain words: what it says, and what changes, for people who sign it."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from agent.trust.bundle_files import Bundle, parse_hotlist_keys
from agent.trust.policy import RETENTION_S, Policy, parse_policy
from agent.trust.publishing import office_names
from agent.trust.release import parse_release
from agent.trust.terms import PURPOSES

LABELS: Final = {
    "version": "number of the policy",
    "city": "city",
    "issued_at": "in force from",
    "expires_at": "valid until",
    "endpoint.addresses": "addresses of the city's endpoint",
    "endpoint.port": "port of the city's endpoint",
    "endpoint.server_name": "name of the city's endpoint",
    "endpoint.ca_pem": "CA of the endpoint's certificate",
    "endpoint.spki_pins": "keys that the endpoint may show",
    "sealing.suite": "kind of sealing",
    "sealing.public_key": "city key that reads are sealed to",
    "receipt_keys": "keys that may sign receipts",
    "mode": "what is kept",
    "crops": "pictures of plates",
    "purposes": "allowed purposes of hotlist entries",
    "hotlist_entries": "most entries of a hotlist",
    "min_hit_confidence": "least confidence of every character of a hit",
    "min_hit_frames": "least number of looks that agree on a hit",
    "retention.hits": "retention of hits on the unit",
    "retention.reads": "retention of reads on the unit",
    "retention.crops": "retention of pictures of reads on the unit",
    "quota.hits_bytes": "room for hits on the unit",
    "quota.reads_bytes": "room for reads on the unit",
    "quota.crops_bytes": "room for pictures on the unit",
    "units": "units that the policy is for",
    "dhcp": "address of a unit",
    "time_servers": "time servers that units may ask",
    "legal.authorized_purposes": "authorized purposes (A)",
    "legal.authorized_users_and_training": "authorized users and their training (B)",
    "legal.monitoring": "how use is monitored (C)",
    "legal.sharing_restrictions": "sale, sharing and transfer (D)",
    "legal.custodian_title": "official custodian (E)",
    "legal.accuracy_measures": "accuracy and correction of errors (F)",
    "legal.retention_and_destruction": "retention and destruction (G)",
    "models": "models that may be used (hash of their manifest)",
    "hotlist": "who may sign hotlists",
    "application": "application that units install",
    "offices": "offices that may sign policies",
}
"""What people call each part; the letters are those of California Civil Code 1798.90.51(b)(2)."""
NOTES: Final = {
    "endpoint.": "units send their reads to this endpoint and to no other",
    "sealing.": "only who has the private half of this key can open reads from now on",
    "time_servers": "besides the endpoint, units speak to these",
    "receipt_keys": "units delete what these keys say has arrived",
    "purposes": "entries of a hotlist may be for these and for nothing else",
    "hotlist_entries": "so many plates can be looked for at once",
    "models": "units with other models keep the policy before until they are brought up to date",
    "hotlist": "their lists decide which plates are hits",
    "application": "this is the software that sees every plate from now on",
    "offices": "they decide from now on what units do",
}
"""What a change of a weighty part means, by the beginning of its path."""
RETENTION_NOTE: Final = (
    "retention is the longest life on the unit; at the city nothing is deleted by age: what a key "
    "opens can be opened until the city destroys that key (`homeplate city keys destroy`)"
)
"""Said wherever retention changes or is shown: whoever signs must not take it for the city's."""
FACTS: Final = (
    "city",
    "version",
    "expires_at",
    "endpoint.addresses",
    "endpoint.port",
    "endpoint.server_name",
    "sealing.public_key",
    "mode",
    "crops",
    "retention.hits",
    "retention.reads",
    "retention.crops",
    "purposes",
    "hotlist_entries",
    "units",
    "time_servers",
    "hotlist",
    "application",
    "offices",
)
"""Said before each signature, whether it changes or not."""
_PRESETS: Final = {
    "nh-3min": "3 minutes",
    "24h": "24 hours",
    **{f"{days}d": f"{days} days" for days in (7, 21, 30, 60)},
}
_MODES: Final = {
    "all": "every plate that passes",
    "hits-only": "only hits on the hotlist; nothing else leaves the unit's memory",
}
_CROPS: Final = {
    "none": "none are kept",
    "hits": "only those of hits, each kept and deleted with its hit",
    "all": "one of every read; that of a hit is kept and deleted with its hit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One part that a new policy says otherwise."""

    path: str
    before: str
    """Empty = it was not said."""
    after: str
    note: str = ""
    """What it means, where that is not to be overlooked."""

    @property
    def label(self) -> str:
        """What people call the part."""
        return LABELS[self.path]


def describe_bundle(bundle: Bundle) -> dict[str, str]:
    """Return what a bundle says: path → plain words, in the order of `LABELS`."""
    policy = parse_policy(bundle.files.policy, place="policy.json")
    said = {path: _describe(path, value) for path, value in _flatten(policy).items()}
    said["models"] = _short(sha256(bundle.files.models).hexdigest())
    agencies = parse_hotlist_keys(bundle.files.hotlist_keys, "hotlist-keys.json")
    named = [f"{agency} (key {key.key_id.hex()})" for agency, key in agencies]
    said["hotlist"] = "; ".join(named) or "nobody: there is no hotlist"
    said["application"] = _describe_application(bundle.files.application)
    offices = [f"{name} (key {key.key_id.hex()})" for name, key in office_names(bundle).items()]
    said["offices"] = "; ".join(offices)
    return {path: said[path] for path in LABELS}


def _describe_application(content: bytes) -> str:
    if not content:
        return "none: units keep what they have"
    release = parse_release(content, place="application.json")
    archives = [
        f"{one.machine} with Python {one.python}: {one.length} bytes, SHA-256 {one.sha256}"
        for one in release.archives
    ]
    return f"version {release.version} ({'; '.join(archives)})"


def find_changes(before: Bundle | None, after: Bundle) -> tuple[Change, ...]:
    """Return what `after` says otherwise than `before`; everything where there was nothing."""
    new, now = describe_bundle(after), _values(after)
    if before is None:
        return tuple(Change(path=path, before="", after=text) for path, text in new.items())
    old, was = describe_bundle(before), _values(before)
    for path in LABELS:
        if was[path] != now[path] and old[path] == new[path]:  # the words are too short for it
            old[path], new[path] = f"{old[path]} ({was[path]})", f"{new[path]} ({now[path]})"
    return tuple(
        Change(path=path, before=old[path], after=new[path], note=_note(path, before, after))
        for path in LABELS
        if was[path] != now[path]
    )


def tell_changes(changes: tuple[Change, ...]) -> str:
    """Return the changes as lines for a terminal."""
    if not changes:
        return "nothing changes"
    lines = [_tell(change) for change in changes]
    retention = any(change.path.startswith("retention.") for change in changes)
    return "\n".join([*lines, *([f"  ({RETENTION_NOTE})"] if retention else [])])


def tell_facts(bundle: Bundle) -> str:
    """Return what weighs most, as lines for a terminal: said before each signature."""
    said = describe_bundle(bundle)
    lines = [f"  {LABELS[path]}: {said[path]}" for path in FACTS]
    return "\n".join([*lines, f"  ({RETENTION_NOTE})"])


def _tell(change: Change) -> str:
    mark = "! " if change.note else "  "
    if not change.before:
        line = f"{mark}{change.label}: {change.after}"
    elif len(change.before + change.after) > 80:  # noqa: PLR2004 -- a line of a terminal
        line = f"{mark}{change.label}:\n      was: {change.before}\n      now: {change.after}"
    else:
        line = f"{mark}{change.label}: {change.before} → {change.after}"
    return f"{line}\n      {change.note}" if change.note else line


def _note(path: str, before: Bundle, after: Bundle) -> str:
    """Return what a grave change means."""
    if path.startswith("retention."):
        return _note_retention(path, before, after)
    if path == "mode" and _policy(after).mode == "all":
        return "plates that are on no list will be kept from now on"
    return next((note for start, note in NOTES.items() if path.startswith(start)), "")


def _note_retention(path: str, before: Bundle, after: Bundle) -> str:
    lane = path.partition(".")[2]
    old, new = (RETENTION_S[getattr(_policy(bundle).retention, lane)] for bundle in (before, after))
    return "is kept on the unit for longer than before" if new > old else ""


def _policy(bundle: Bundle) -> Policy:
    return parse_policy(bundle.files.policy, place="policy.json")


def _flatten(policy: Policy) -> dict[str, Any]:
    """Return path → value; objects are taken apart, lists are not."""
    found: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(policy).items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            found[name] = value
    return found


def _values(bundle: Bundle) -> dict[str, Any]:
    """Return what is compared: path → value, in full where `describe_bundle` shortens."""
    found = _flatten(_policy(bundle))
    agencies = parse_hotlist_keys(bundle.files.hotlist_keys, "hotlist-keys.json")
    found["endpoint.ca_pem"] = sha256(found["endpoint.ca_pem"].encode()).hexdigest()
    found["models"] = sha256(bundle.files.models).hexdigest()
    found["application"] = sha256(bundle.files.application).hexdigest()
    found["hotlist"] = [f"{agency}: {key.spki.hex()}" for agency, key in agencies]
    found["offices"] = [f"{name}: {key.spki.hex()}" for name, key in office_names(bundle).items()]
    return found


def _describe(path: str, value: Any) -> str:  # noqa: ANN401 -- whatever stands in a policy
    """Return one value in words."""
    if path.startswith("retention."):
        return _PRESETS[value]
    if path.endswith("_bytes"):
        whole, rest = divmod(value, 2**20)
        return f"{value:,} bytes" if rest else f"{whole:,} MiB"
    if path in _TELLERS:
        return _TELLERS[path](value)
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _name_key(text: str) -> str:
    """Return how frames and receipts name a key."""
    return f"key {sha256(b64decode(text)).hexdigest()[:16]}"


def _short(digest: str) -> str:
    return f"{digest[:16]}…"


_TELLERS: Final[dict[str, Callable[[Any], str]]] = {
    "mode": _MODES.__getitem__,
    "crops": _CROPS.__getitem__,
    "endpoint.ca_pem": lambda pem: _short(sha256(pem.encode()).hexdigest()),
    "sealing.public_key": _name_key,
    "receipt_keys": lambda keys: ", ".join(map(_name_key, keys)),
    "purposes": lambda items: "; ".join(f"{code} ({PURPOSES[code]})" for code in items),
    "units": lambda names: ", ".join(names) or "all units of the city",
    "dhcp": lambda allowed: "may be asked of its network (DHCP)" if allowed else "fixed",
    "time_servers": lambda names: ", ".join(names) or "none",
}
