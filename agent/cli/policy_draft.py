"""The draft of a policy: its fields as people write them, and whether it can be signed."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from agent.base.errors import ConfigError
from agent.cli.policy_fields import COUNTED
from agent.cli.policy_words import LABELS
from agent.trust.bundle_files import (
    APPLICATION_FILE,
    POLICY_FILE,
    Bundle,
    BundleFiles,
    parse_hotlist_keys,
)
from agent.trust.key_uses import require_only_sealing
from agent.trust.policy import BLANK_LEGAL, parse_policy
from agent.trust.publishing import offices_of
from agent.trust.release import parse_release
from agent.trust.terms import Legal, blank_fields


def find_gap(files: BundleFiles, *, place: str, now: datetime | None = None) -> str:
    """Return what a draft still lacks before it can be signed, empty when it is ready.

    Args:
        files: The draft.
        place: Its name, for messages.
        now: When it is saved; None = do not judge the time.

    Raises:
        ConfigError: Something in it is wrong, not missing.
        PolicyError: The keys for hotlists cannot be read.
    """
    try:
        policy = parse_policy(files.policy, place=place)
    except ConfigError as error:
        if BLANK_LEGAL in str(error):
            return _tell_blank(files.policy)
        raise
    if now is not None and now >= policy.expires_at:
        message = f"{place}: $.expires_at: {tell_time(policy.expires_at)} is over; say --valid-days"
        raise ConfigError(message)
    named = parse_hotlist_keys(files.hotlist_keys, place)
    if files.application:
        parse_release(files.application, place=APPLICATION_FILE)
    if policy.mode == "hits-only" and not named:
        return f"{place}: the mode is hits-only, but nobody may sign a hotlist: see --hotlist-key"
    return ""


def require_own_sealing_key(files: BundleFiles, roots: tuple[bytes, ...]) -> None:
    """Make sure that no office, and nobody who signs hotlists, holds the draft's sealing key.

    Args:
        files: The draft; it need not be complete.
        roots: Of which the newest names the offices.

    Raises:
        PolicyError: Somebody does.
    """
    sealing = decode_draft(files.policy, POLICY_FILE).get("sealing")
    text = sealing.get("public_key") if isinstance(sealing, dict) else None
    held_by = offices_of(roots[-1]).items()
    named = parse_hotlist_keys(files.hotlist_keys, "the draft")
    require_only_sealing(str(text), (*held_by, *named), place="the draft")


def renew_fields(
    fields: Mapping[str, Any], before: Bundle | None, *, now: datetime, valid_days: int | None
) -> dict[str, Any]:
    """Return the draft's fields with the next number and the time from which they are in force."""
    number = 0
    if before is not None:
        number = parse_policy(before.files.policy, place="published").version
    ends = {} if valid_days is None else {"expires_at": tell_time(now + timedelta(days=valid_days))}
    return {**fields, "version": number + 1, "issued_at": tell_time(now), **ends}


def is_same(known: BundleFiles, found: BundleFiles) -> bool:
    """Tell whether two drafts say the same, whatever their number and date."""
    mine, theirs = ((one.models, one.hotlist_keys, one.application) for one in (known, found))
    return mine == theirs and _strip(known.policy) == _strip(found.policy)


def encode_draft(fields: Mapping[str, Any]) -> bytes:
    """Return the draft as text that people can read."""
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()


def decode_draft(content: bytes, place: str) -> dict[str, Any]:
    """Return the fields of a draft.

    Raises:
        ConfigError: It is no JSON object.
    """
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{place}: {error}; expected a JSON object"
        raise ConfigError(message) from error


def tell_time(moment: datetime) -> str:
    """Return a moment as it stands in policies."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _tell_blank(policy: bytes) -> str:
    """Return which of the law's texts a draft lacks, in the words of its own editor."""
    legal = msgspec.convert(decode_draft(policy, POLICY_FILE)["legal"], Legal)
    named = [f"{LABELS[f'legal.{name}']}, legal.{name}" for name in blank_fields(legal)]
    return (
        "of the seven texts that California Civil Code 1798.90.51(b)(2) asks for, these are still "
        f"blank: {'; '.join(named)}"
    )


def _strip(policy: bytes) -> dict[str, Any]:
    fields = decode_draft(policy, POLICY_FILE)
    return {name: value for name, value in fields.items() if name not in COUNTED}
