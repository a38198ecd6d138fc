"""The policy attack table: what a thief, a careless clerk or a broken disk may hand to a unit.

The unit has policy 3. Each attack says the reason for which we refuse it, and what python-tuf's own
client does with the same metadata: `refuses`, `takes` (our rule is stricter than the
specification) or `no opinion` (it never looks there).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, MetaFile
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, Bundle, encode_bundle
from agent.trust.role_forms import SIGNED_HASH
from agent.trust.roles import ROLE_LIMIT_BYTES, key_name, key_pem, signed_sha256
from tests.policies import (
    ENDS,
    NOW,
    UNIT,
    Draft,
    draft,
    first_root,
    make_root,
    policy_fields,
    sign,
    signer,
    text64,
)

REFUSES, TAKES, SILENT = "refuses", "takes", "no opinion"
ROLES = ("timestamp", "snapshot", "targets")
THIEVES = ("police:thief", "city-manager:thief", "clerk:thief")
NEW_OFFICES = ("police:2", "city-manager", "clerk")


@dataclass(frozen=True)
class Attack:
    """One row."""

    reason: str
    tuf: str
    make: Callable[[], Bundle | bytes]
    now: datetime = NOW
    unit: str = UNIT
    before: Callable[[], Bundle] | None = None
    """What the unit has; None = policy 3."""

    def content(self) -> bytes:
        """Return the bytes that come."""
        made = self.make()
        return made if isinstance(made, bytes) else encode_bundle(made)

    def held(self) -> Bundle:
        """Return what the unit has."""
        return self.before() if self.before else policy_3()


@cache
def policy_3() -> Bundle:
    """Return what the unit has."""
    return draft(3).signed()


@cache
def honest() -> Bundle:
    """Return the next policy, as it should be."""
    return draft(4, mode="all").signed()


@cache
def abandoned() -> Bundle:
    """Return another policy 4 that two offices had signed, and then thought better of."""
    kept = {"hits": "60d", "reads": "60d", "crops": "60d"}
    return draft(4, retention=kept).signed()


@cache
def rotated() -> Bundle:
    """Return policy 4 under a second root, in which the police has a new key."""
    roots = (first_root(), make_root(2, held_by=NEW_OFFICES))
    return sign(Draft(policy_fields(4), roots=roots).bundle(), "city-manager", "clerk")


def but(bundle: Bundle, **parts: object) -> Bundle:
    """Return the bundle with other parts."""
    return msgspec.structs.replace(bundle, **parts)


def with_file(name: str, content: bytes) -> Bundle:
    """Return the honest bundle with another file in the place of the signed one."""
    return but(honest(), files=msgspec.structs.replace(honest().files, **{name: content}))


def edited(content: bytes, change: Callable[[dict], object], *names: str) -> bytes:
    """Return metadata with a change, signed again by these."""
    fields = json.loads(content)
    change(fields)
    if not names:
        return json.dumps(fields).encode()
    metadata = Metadata.from_bytes(json.dumps(fields).encode())
    metadata.signatures.clear()
    for name in names:
        keyid = key_name(key_pem(signer(name).public_key))
        signed = signer(name).sign(metadata.signed_bytes)
        metadata.signatures[keyid] = Signature(keyid, signed.hex())
    return metadata.to_bytes(JSONSerializer())


def relisted(bundle: Bundle, *names: str) -> Bundle:
    """Return the bundle with snapshot and timestamp that list what is there, signed by these."""
    targets = Metadata.from_bytes(bundle.targets)
    snapshot = Metadata.from_bytes(bundle.snapshot)
    snapshot.signed.meta["targets.json"] = listed(targets)
    signed = edited(snapshot.to_bytes(JSONSerializer()), dict, *names)
    timestamp = Metadata.from_bytes(bundle.timestamp)
    timestamp.signed.snapshot_meta = listed(Metadata.from_bytes(signed))
    content = edited(timestamp.to_bytes(JSONSerializer()), dict, *names)
    return but(bundle, snapshot=signed, timestamp=content)


def listed(metadata: Metadata) -> MetaFile:
    """Return how a part is listed."""
    known = {SIGNED_HASH: signed_sha256(metadata).hex()}
    return MetaFile(version=metadata.signed.version, unrecognized_fields=known)


def set_in(*path: str, to: object) -> Callable[[dict], None]:
    """Return a change of the signed part at a path."""

    def change(fields: dict) -> None:
        place = fields["signed"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return change


def with_signatures(role: str, signatures: Callable[[list[dict]], list[dict]]) -> Bundle:
    """Return the honest bundle with other signatures of one role."""

    def change(fields: dict) -> None:
        fields["signatures"] = signatures(fields["signatures"])

    return but(honest(), **{role: edited(getattr(honest(), role), change)})


def signed_by_one_office_twice() -> Bundle:
    return with_signatures("targets", lambda found: [found[0], found[0]])


def signed_by_a_stranger() -> Bundle:
    stranger = sign_with("stranger", honest().targets)
    return with_signatures("targets", lambda found: [found[0], {**found[1], "sig": stranger}])


def sign_with(name: str, content: bytes) -> str:
    """Return a signature over metadata, in hex."""
    return signer(name).sign(Metadata.from_bytes(content).signed_bytes).hex()


def signatures_of_the_policy_before() -> Bundle:
    before = json.loads(policy_3().targets)["signatures"]
    return with_signatures("targets", lambda _: before)


def targets_rolled_back() -> Bundle:
    old = draft(2).signed()
    return relisted(but(honest(), targets=old.targets, files=old.files), "police", "clerk")


def bundle_edited(change: Callable[[dict], None]) -> bytes:
    fields = json.loads(encode_bundle(honest()))
    change(fields)
    return json.dumps(fields, separators=(",", ":")).encode()


def new_root(change: Callable[[dict], object], *names: str) -> Bundle:
    """Return policy 4 under a second root that was changed, and signed by these."""
    second = edited(make_root(2), change, *(names or ("police", "clerk")))
    return but(honest(), roots=(first_root(), second))


def one_key_as_two_offices(fields: dict) -> None:
    keys, roles = fields["signed"]["keys"], fields["signed"]["roles"]
    mine = key_name(key_pem(signer("police").public_key))
    twin = "f" * 64
    keys[twin] = {**keys[mine], "x-homeplate-office": "police-again"}
    for role in roles.values():
        role["keyids"].append(twin)


def key_of_another_kind(fields: dict) -> None:
    keyid = key_name(key_pem(signer("city-manager").public_key))
    fields["signed"]["keys"][keyid]["scheme"] = "ecdsa-sha2-nistp384"


def pem_of_p384() -> str:
    """Return the public half of a key on another curve."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return (
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(encoding, form).decode()
    )


def with_public(pem: str) -> Callable[[dict], None]:
    """Return a change that gives the city manager another public key, under the id that fits."""

    def change(fields: dict) -> None:
        keys, roles = fields["signed"]["keys"], fields["signed"]["roles"]
        old = key_name(key_pem(signer("city-manager").public_key))
        keys[key_name(pem)] = {**keys.pop(old), "keyval": {"public": pem}}
        for role in roles.values():
            role["keyids"] = [key_name(pem) if keyid == old else keyid for keyid in role["keyids"]]

    return change


def two_keys_for_one_office(fields: dict) -> None:
    for key in fields["signed"]["keys"].values():
        key["x-homeplate-office"] = "police"


def root_skipped() -> Bundle:
    return but(honest(), roots=(first_root(), edited(make_root(3), dict, "police", "clerk")))


def stolen_city(*names: str) -> Bundle:
    """Return policy 4 under a root of thieves, signed by these."""
    roots = (first_root(), make_root(2, held_by=THIEVES))
    return sign(Draft(policy_fields(4), roots=roots).bundle(), *names)


def another_city() -> Bundle:
    """Return a policy that is perfect, for the city next to this one."""
    root = sign(Draft(policy_fields(), roots=(make_root(held_by=THIEVES),)).bundle(), *THIEVES)
    return sign(Draft(policy_fields(4), roots=root.roots).bundle(), *THIEVES)


def changed_policy(**changes: object) -> Bundle:
    """Return policy 4 with other fields, signed as it should be."""
    return draft(4, **changes).signed()


def endpoint(**changes: object) -> dict[str, object]:
    """Return the endpoint with other fields."""
    return {"endpoint": {**policy_fields()["endpoint"], **changes}}


def legal(**changes: str) -> dict[str, object]:
    """Return the seven fields of the law with others."""
    return {"legal": {**policy_fields()["legal"], **changes}}


def sealed_to(name: str) -> dict[str, object]:
    """Return the sealing with a key with which somebody signs."""
    public = text64(signer(name).public_spki)
    return {"sealing": {**policy_fields()["sealing"], "public_key": public}}


def strange_targets(change: Callable[[dict], object]) -> Bundle:
    """Return the honest bundle with targets that two offices signed after a change."""
    content = edited(honest().targets, change, "police", "clerk")
    try:
        return relisted(but(honest(), targets=content), "police", "clerk")
    except DeserializationError:
        return but(honest(), targets=content)


def key_of_p384() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return text64(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def short(days: int) -> Bundle:
    """Return policy 4 under a root that lasts for some days only."""
    root = sign(
        Draft(policy_fields(), roots=(make_root(2, days=days),)).bundle(), "police", "clerk"
    ).roots[0]
    return but(honest(), roots=(first_root(), root))


def no_role_for(office: str) -> Callable[[dict], None]:
    """Return a change that leaves targets to the other offices."""

    def change(fields: dict) -> None:
        keyid = key_name(key_pem(signer(office).public_key))
        fields["signed"]["roles"]["targets"]["keyids"].remove(keyid)

    return change


def hotlist_keys(*keys: str, agency: str = "PD") -> bytes:
    return json.dumps([{"agency": agency, "key": key} for key in keys]).encode()


EARLIER = (NOW - timedelta(days=300)).isoformat()
TWICE = b'"version": 4,"version": 4'
LATER = NOW + timedelta(days=30)
PINS = policy_fields()["endpoint"]["spki_pins"]
ATTACKS = {
    # versions
    "an older policy": Attack("rollback", REFUSES, lambda: draft(2).signed()),
    "older targets in new wrapping": Attack("rollback", REFUSES, targets_rolled_back),
    "the same number for another policy": Attack(
        "fork", REFUSES, lambda: draft(3, mode="hits-only", crops="none").signed()
    ),
    "an older root": Attack("rollback", SILENT, honest, before=rotated),
    # time
    "expired": Attack("expired", REFUSES, honest, now=ENDS),
    "expired by the policy alone": Attack(
        "expired", SILENT, lambda: changed_policy(issued_at=EARLIER, expires_at=NOW.isoformat())
    ),
    "under an expired root": Attack("expired", REFUSES, lambda: short(10), now=LATER),
    "not valid yet": Attack(
        "not-yet-valid", SILENT, lambda: changed_policy(issued_at=LATER.isoformat())
    ),
    # signatures
    "signed by one office": Attack("signature", REFUSES, lambda: draft(4).signed("police")),
    "signed by nobody": Attack("signature", REFUSES, lambda: draft(4).bundle()),
    "one office signs twice": Attack("format", REFUSES, signed_by_one_office_twice),
    "a stranger signs as the clerk": Attack("signature", REFUSES, signed_by_a_stranger),
    "signatures of the policy before": Attack(
        "signature", REFUSES, signatures_of_the_policy_before
    ),
    "an empty signature": Attack(
        "signature",
        REFUSES,
        lambda: with_signatures("targets", lambda found: [found[0], {**found[1], "sig": ""}]),
    ),
    "only one signs the timestamp": Attack(
        "signature", REFUSES, lambda: with_signatures("timestamp", lambda found: found[:1])
    ),
    "only one signs the snapshot": Attack(
        "signature", REFUSES, lambda: with_signatures("snapshot", lambda found: found[:1])
    ),
    "only one signs the targets": Attack(
        "signature", REFUSES, lambda: with_signatures("targets", lambda found: found[:1])
    ),
    "changed after signing": Attack(
        "signature",
        REFUSES,
        lambda: but(
            honest(),
            targets=edited(honest().targets, set_in("expires", to="2036-01-01T00:00:00Z")),
        ),
    ),
    # parts that do not belong together
    "snapshot of an abandoned draft": Attack(
        "mix", TAKES, lambda: but(honest(), snapshot=abandoned().snapshot)
    ),
    "targets of an abandoned draft": Attack(
        "mix",
        TAKES,
        lambda: but(honest(), targets=abandoned().targets, files=abandoned().files),
    ),
    "targets of the policy before": Attack(
        "mix",
        REFUSES,
        lambda: but(honest(), targets=policy_3().targets, files=policy_3().files),
    ),
    "snapshot of the policy before": Attack(
        "mix", REFUSES, lambda: but(honest(), snapshot=policy_3().snapshot)
    ),
    "a policy with another number inside": Attack(
        "mix", SILENT, lambda: draft(5).but(version=4).signed()
    ),
    # files
    "another policy file": Attack(
        "hash", REFUSES, lambda: with_file("policy", abandoned().files.policy)
    ),
    "another models file": Attack("hash", REFUSES, lambda: with_file("models", b"models of mine")),
    "another hotlist key": Attack(
        "hash",
        REFUSES,
        lambda: with_file("hotlist_keys", hotlist_keys(text64(signer("x").public_spki))),
    ),
    "an empty policy file": Attack("hash", REFUSES, lambda: with_file("policy", b"")),
    # who it is for, what it may say
    "for another unit": Attack("unit", SILENT, lambda: changed_policy(units=["unit-0002"])),
    "for a unit of a longer name": Attack(
        "unit", SILENT, lambda: changed_policy(units=["unit-00010"])
    ),
    "an unknown field in the policy": Attack(
        "unknown-field", SILENT, lambda: changed_policy(share_with=["others"])
    ),
    "a second endpoint": Attack(
        "unknown-field", SILENT, lambda: changed_policy(endpoint_2=policy_fields()["endpoint"])
    ),
    "a proxy for the endpoint": Attack(
        "unknown-field", SILENT, lambda: changed_policy(**endpoint(proxy="192.0.2.9"))
    ),
    "five addresses": Attack(
        "policy",
        SILENT,
        lambda: changed_policy(**endpoint(addresses=[f"192.0.2.{last}" for last in range(1, 6)])),
    ),
    "a name for an address": Attack(
        "policy", SILENT, lambda: changed_policy(**endpoint(addresses=["reads.example"]))
    ),
    "one pin": Attack("policy", SILENT, lambda: changed_policy(**endpoint(spki_pins=PINS[:1]))),
    "retention for ever": Attack(
        "policy",
        SILENT,
        lambda: changed_policy(retention={"hits": "forever", "reads": "7d", "crops": "24h"}),
    ),
    "a purpose for immigration enforcement": Attack(
        "policy",
        SILENT,
        lambda: changed_policy(purposes=["civil-warrant"]),
    ),
    "a purpose in words of its own": Attack(
        "policy",
        SILENT,
        lambda: changed_policy(purposes=[{"code": "removal", "title": "Removal of aliens"}]),
    ),
    "a text that wipes the signer's screen": Attack(
        "policy", SILENT, lambda: changed_policy(**legal(monitoring="\x1b[2JThe clerk audits."))
    ),
    "a text that is shown backwards": Attack(
        "policy", SILENT, lambda: changed_policy(city="Test\u202eelliv")
    ),
    "a field whose name wipes the screen": Attack(
        "unknown-field", SILENT, lambda: changed_policy(**{"x\x1b[2J": "y"})
    ),
    "an agency that wipes the screen": Attack(
        "hotlist-keys",
        SILENT,
        lambda: (
            draft(4)
            .but(hotlist_keys=hotlist_keys(text64(signer("x").public_spki), agency="PD\x1b[2J"))
            .signed()
        ),
    ),
    "a blank legal field": Attack(
        "legal", SILENT, lambda: changed_policy(**legal(custodian_title="  "))
    ),
    "a legal field of dashes": Attack(
        "legal", SILENT, lambda: changed_policy(**legal(monitoring="---"))
    ),
    "hits only, and nobody to sign lists": Attack(
        "hotlist-keys", SILENT, lambda: changed_policy(mode="hits-only")
    ),
    "a hotlist key that is none": Attack(
        "hotlist-keys",
        SILENT,
        lambda: draft(4).but(hotlist_keys=hotlist_keys("AAAA")).signed(),
    ),
    "a hotlist key on another curve": Attack(
        "hotlist-keys",
        SILENT,
        lambda: draft(4).but(hotlist_keys=hotlist_keys(key_of_p384())).signed(),
    ),
    "one hotlist key twice": Attack(
        "hotlist-keys",
        SILENT,
        lambda: (
            draft(4).but(hotlist_keys=hotlist_keys(*2 * [text64(signer("x").public_spki)])).signed()
        ),
    ),
    "reads sealed to the key of an office": Attack(
        "sealing-key",
        SILENT,
        lambda: changed_policy(**sealed_to("city-manager")),
    ),
    "reads sealed to the key of who signs hotlists": Attack(
        "sealing-key",
        SILENT,
        lambda: (
            draft(4, **sealed_to("x"))
            .but(hotlist_keys=hotlist_keys(text64(signer("x").public_spki)))
            .signed()
        ),
    ),
    # metadata that two offices signed, and that we do not take all the same
    "an unknown field in signed targets": Attack(
        "unknown-field", TAKES, lambda: strange_targets(set_in("share_with", to="others"))
    ),
    "a delegation": Attack(
        "unknown-field",
        TAKES,
        lambda: strange_targets(set_in("delegations", to={"keys": {}, "roles": []})),
    ),
    "a fourth file": Attack(
        "unknown-field",
        TAKES,
        lambda: strange_targets(
            set_in("targets", "x.json", to={"length": 0, "hashes": {"sha256": "0" * 64}})
        ),
    ),
    "a field beside the signatures": Attack(
        "unknown-field",
        TAKES,
        lambda: but(honest(), targets=edited(honest().targets, lambda it: it.update(x=1))),
    ),
    "a field that stands twice": Attack(
        "format",
        TAKES,
        lambda: but(
            honest(),
            targets=honest().targets.replace(b'"version": 4', TWICE),
        ),
    ),
    "another TUF": Attack(
        "format",
        REFUSES,
        lambda: but(honest(), targets=edited(honest().targets, set_in("spec_version", to="2.0.0"))),
    ),
    "a number of its own size": Attack(
        "format",
        REFUSES,
        lambda: but(honest(), targets=edited(honest().targets, set_in("version", to=2**31))),
    ),
    "a timestamp for targets": Attack(
        "format", REFUSES, lambda: but(honest(), targets=honest().timestamp)
    ),
    # roots
    "one may sign the targets alone": Attack(
        "format", TAKES, lambda: new_root(set_in("roles", "targets", "threshold", to=1))
    ),
    "one may sign everything alone": Attack(
        "format",
        TAKES,
        lambda: new_root(
            lambda it: [role.update(threshold=1) for role in it["signed"]["roles"].values()]
        ),
    ),
    "four are needed of three": Attack(
        "root",
        REFUSES,
        lambda: new_root(
            lambda it: [role.update(threshold=4) for role in it["signed"]["roles"].values()]
        ),
    ),
    "another threshold for the targets": Attack(
        "root", REFUSES, lambda: new_root(set_in("roles", "targets", "threshold", to=3))
    ),
    "two offices for the targets": Attack(
        "format", TAKES, lambda: new_root(no_role_for("city-manager"))
    ),
    "one key as two offices": Attack("root", TAKES, lambda: new_root(one_key_as_two_offices)),
    "a key of another kind": Attack("format", TAKES, lambda: new_root(key_of_another_kind)),
    "a key on another curve": Attack("root", TAKES, lambda: new_root(with_public(pem_of_p384()))),
    "a key that is none": Attack("root", TAKES, lambda: new_root(with_public("no key"))),
    "a key in two spellings": Attack(
        "root",
        TAKES,
        lambda: new_root(with_public(key_pem(signer("police").public_key).replace("\n", "\r\n"))),
    ),
    "one office with two keys": Attack("root", TAKES, lambda: new_root(two_keys_for_one_office)),
    "a root of thieves": Attack("signature", REFUSES, lambda: stolen_city(*THIEVES[:2])),
    "a root that its own offices have not signed": Attack(
        "signature", REFUSES, lambda: stolen_city("city-manager", "clerk")
    ),
    "a root that one office before has signed": Attack(
        "signature", REFUSES, lambda: stolen_city("police", *THIEVES)
    ),
    "a root left out": Attack("root", REFUSES, root_skipped),
    "another city": Attack("root", SILENT, another_city),
    "no root": Attack("format", SILENT, lambda: bundle_edited(lambda it: it.update(roots=[]))),
    # bytes
    "an unknown part": Attack(
        "unknown-field", SILENT, lambda: bundle_edited(lambda it: it.update(mirror="x"))
    ),
    "a bundle too large": Attack("size", SILENT, lambda: b" " * (BUNDLE_LIMIT_BYTES + 1)),
    "metadata too large": Attack(
        "size", SILENT, lambda: but(honest(), targets=b" " * (ROLE_LIMIT_BYTES + 1))
    ),
    "a bundle cut short": Attack("format", SILENT, lambda: encode_bundle(honest())[:-9]),
    "a bundle with a space": Attack("format", SILENT, lambda: encode_bundle(honest()) + b" "),
    "a part missing": Attack(
        "format", SILENT, lambda: bundle_edited(lambda it: it.pop("snapshot"))
    ),
    "no JSON at all": Attack("format", SILENT, lambda: b"\x00" * 100),
    "deep JSON": Attack("format", SILENT, lambda: b"[" * 100_000),
    "deep metadata": Attack("format", REFUSES, lambda: but(honest(), targets=b"[" * 50_000)),
}
