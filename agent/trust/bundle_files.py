"""The policy bundle as a file: its parts in one spelling, nothing verified (formats.md, ch. 4)."""

from base64 import b64decode
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from agent.base.errors import CredentialError, PolicyError
from agent.base.texts import is_plain, show
from agent.trust.roles import malformed
from agent.trust.signatures import PublicKey, load_public_key

BUNDLE_LIMIT_BYTES: Final = 1_048_576
FORMAT: Final = "homeplate-policy-1"
BUNDLE_START: Final = f'{{"format":"{FORMAT}"'.encode()
POLICY_FILE: Final = "policy.json"
MODELS_FILE: Final = "models.toml"
HOTLIST_KEYS_FILE: Final = "hotlist-keys.json"
FILES: Final = (POLICY_FILE, MODELS_FILE, HOTLIST_KEYS_FILE)
APPLICATION_FILE: Final = "application.json"
"""Only where the city has an update for its units."""
ROOTS_LIMIT: Final = 64
HOTLIST_KEYS_LIMIT: Final = 16


class BundleFiles(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What the targets name."""

    policy: bytes = msgspec.field(name=POLICY_FILE)
    models: bytes = msgspec.field(name=MODELS_FILE)
    hotlist_keys: bytes = msgspec.field(name=HOTLIST_KEYS_FILE)
    application: bytes = msgspec.field(name=APPLICATION_FILE, default=b"")
    """Empty = there is none."""

    def named(self) -> dict[str, bytes]:
        """Return the files by their names."""
        files = dict(zip(FILES, (self.policy, self.models, self.hotlist_keys), strict=True))
        return files | ({APPLICATION_FILE: self.application} if self.application else {})


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parts, as bytes; in JSON they are base64."""

    format: Literal["homeplate-policy-1"] = FORMAT
    roots: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=ROOTS_LIMIT)]
    """From the first to the newest."""
    timestamp: bytes
    snapshot: bytes
    targets: bytes
    files: BundleFiles


class HotlistKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may sign a hotlist."""

    agency: Annotated[str, Meta(min_length=1, max_length=100)]
    key: Annotated[str, Meta(max_length=1024)]
    """Base64 of its public key."""


def parse_bundle(content: bytes, *, place: str) -> Bundle:
    """Return the parts of a bundle, none of them verified.

    Raises:
        PolicyError: `size`, `format` or `unknown-field`.
    """
    if len(content) > BUNDLE_LIMIT_BYTES:
        message = f"{place}: larger than {BUNDLE_LIMIT_BYTES} bytes; expected a policy bundle"
        raise PolicyError(message, reason="size")
    try:
        bundle = msgspec.json.decode(content, type=Bundle)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise malformed(error, place) from error
    if encode_bundle(bundle) != content:
        message = f"{place}: a bundle in an unusual spelling; expected the one that was published"
        raise PolicyError(message, reason="format")
    return bundle


def encode_bundle(bundle: Bundle) -> bytes:
    """Return the bundle as one file."""
    return msgspec.json.encode(bundle)


def parse_hotlist_keys(content: bytes, place: str) -> tuple[tuple[str, PublicKey], ...]:
    """Return who may sign hotlists, with their keys.

    Raises:
        PolicyError: `hotlist-keys`.
    """
    where = f"{place}: {HOTLIST_KEYS_FILE}"
    try:
        named = msgspec.json.decode(content, type=tuple[HotlistKey, ...])
        found = tuple(
            (item.agency, load_public_key(b64decode(item.key, validate=True), place=where))
            for item in named
        )
    except (msgspec.MsgspecError, ValueError, RecursionError, CredentialError) as error:
        message = f"{where}: {show(str(error))}; expected a list of agencies with their public keys"
        raise PolicyError(message, reason="hotlist-keys") from error
    if not all(is_plain(agency) for agency, _ in found):
        message = f"{where}: an agency's name has a control character; expected plain text"
        raise PolicyError(message, reason="hotlist-keys")
    if len(found) > HOTLIST_KEYS_LIMIT or len({key.spki for _, key in found}) != len(found):
        message = f"{where}: {len(found)} keys; expected at most {HOTLIST_KEYS_LIMIT}, none twice"
        raise PolicyError(message, reason="hotlist-keys")
    return found
