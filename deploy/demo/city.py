"""Makes a city and enrols one unit: keys, certificates, signed policy, settings, endpoint.

What a city does once, by its own people, with its own devices; here in one go and in one folder,
so that the whole road can be tried. The folders show who holds what:

    city/        the city's safe: key that opens reads, policies   (never on a unit or the endpoint)
    offices/     three keys, each of which its own office keeps    (two of them sign a policy)
    endpoint/    server, receipt and issuing key, sealed frames    (no key that opens anything)
    unit/        settings, policy, the unit's own keys, its state  (no key that opens anything)

Step by step, with the commands of the offices: deploy/docs/city.md.
"""

import base64
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from homeplate_endpoint.config import load_config
from homeplate_endpoint.founding import Plan, found_endpoint
from homeplate_endpoint.registrar import Registrar
from homeplate_endpoint.units import Units

from agent.base.clock import SystemClock
from agent.cli.enroll import ask, make_keys
from agent.cli.policy_book import CURRENT, PENDING, ROOT, Book
from agent.cli.policy_draft import encode_draft, tell_time
from agent.cli.unit_bundle import draw_token
from agent.trust.answers import Answer
from agent.trust.bundle_files import BundleFiles, encode_bundle
from agent.trust.keys import (
    encode_private_key,
    encode_protected_key,
    generate_opener,
    generate_signer,
    load_protected_signer,
    load_signer,
)
from agent.trust.publishing import add_signature, compose_root
from agent.trust.terms import Legal
from agent.trust.tickets import make_ticket, ticket_name

MODELS = Path(__file__).resolve().parents[2] / "models" / "manifest.toml"
OFFICES = ("police", "city-manager", "clerk")
PASSPHRASE = "only for trying out"  # noqa: S105 -- of keys that go away with the demo
CITY_NAME = "Exampleton"
SERVER_NAME = "reads.exampleton.example"
UNIT = "unit-0001"
PLANNED_PORT = 8443
VALID_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """Where the parts of the city lie."""

    root: Path
    opening_key: Path
    """The private key that opens reads: held by the city, by nobody else."""
    endpoint_config: Path
    unit_settings: Path

    @property
    def unit(self) -> Path:
        """All that the unit holds."""
        return self.root / "unit"

    @property
    def endpoint(self) -> Path:
        """All that the endpoint holds."""
        return self.root / "endpoint"

    @property
    def book(self) -> Book:
        """The city's folder of policies."""
        return Book(self.root / "city" / "policies")


def found_city(root: Path, *, address: str = "127.0.0.1") -> City:
    """Make all keys and certificates, the endpoint's configuration and the unit's credentials.

    The policy comes last, by `publish_policy`, when the endpoint's port is known.

    Args:
        root: A folder that is not there yet.
        address: At which the units reach the endpoint, and at which it listens.
    """
    for folder in ("city", "offices", "unit/credentials", "unit/state", "unit/run"):
        (root / folder).mkdir(parents=True, mode=0o700)
    opener = generate_opener()
    _write(root / "city/opening.key", encode_private_key(opener))
    _write(root / "city/hotlist.key", encode_private_key(generate_signer()))
    _furnish_offices(root)
    plan = Plan(
        server_name=SERVER_NAME,
        addresses=(address,),
        port=PLANNED_PORT,
        sealing_key=opener.public_key,
    )
    found_endpoint(root / "endpoint", plan, now=datetime.now(UTC))
    for name in ("spare.key", "server-ca.key"):
        (root / "endpoint" / name).rename(root / "city" / name)
    enrol_unit(root)
    return City(
        root=root,
        opening_key=root / "city/opening.key",
        endpoint_config=root / "endpoint/endpoint.toml",
        unit_settings=root / "unit/unit.toml",
    )


def publish_policy(  # noqa: PLR0913  one argument a thing that tests change
    city: City,
    *,
    port: int,
    mode: str = "all",
    signed_by: tuple[str, ...] = ("police", "clerk"),
    changes: Mapping[str, Any] | None = None,
    application: bytes = b"",
    now: datetime | None = None,
) -> None:
    """Let the offices sign the next policy; the endpoint serves it, the unit is flashed with it.

    Args:
        city: Founded.
        port: Of the endpoint.
        mode: `all` or `hits-only`.
        signed_by: Offices; fewer than two make a policy that is not published, only pending.
        changes: Fields of the policy that are to be others.
        application: The file application.json; empty = no update.
        now: When it is signed; None = now.
    """
    book, now = city.book, now or datetime.now(UTC)
    fields = draft_policy(city, port=port, mode=mode, now=now) | dict(changes or {})
    files = BundleFiles(
        policy=encode_draft(fields),
        models=MODELS.read_bytes(),
        hotlist_keys=describe_hotlist_keys(city),
        application=application,
    )
    pending = book.put_up(files, book.roots())
    for office in signed_by:
        signer = load_protected_signer(
            bytearray((city.root / f"offices/{office}.key").read_bytes()),
            PASSPHRASE,
            place=office,
        )
        pending = add_signature(pending, key=signer.public_key, sign=signer.sign)
    book.write(PENDING, encode_bundle(pending))
    if len(signed_by) > 1:
        book.publish(now=now)
        hand_out_policy(city)


def draft_policy(city: City, *, port: int, mode: str, now: datetime) -> dict[str, Any]:
    """Return the policy: one endpoint, one sealing key, retention, quota, purposes, the law."""
    current = city.book.bundle(CURRENT)
    part = json.loads((city.endpoint / "endpoint.json").read_text())
    return {
        "version": 1 if current is None else city.book.read_draft()["version"] + 1,
        "city": CITY_NAME,
        "issued_at": tell_time(now),
        "expires_at": tell_time(now + timedelta(days=VALID_DAYS)),
        "endpoint": part["endpoint"] | {"port": port},
        "sealing": {
            "suite": "P256-HKDF-SHA256-AES256GCM",
            "public_key": base64.b64encode(_public_spki(city.opening_key)).decode(),
        },
        "receipt_keys": part["receipt_keys"],
        "mode": mode,
        "crops": "all",
        "purposes": ["stolen-vehicle", "missing-person"],
        "min_hit_confidence": 0.9,
        "min_hit_frames": 2,
        "retention": {"hits": "30d", "reads": "24h", "crops": "24h"},
        "quota": {"hits_bytes": 1 << 28, "reads_bytes": 1 << 28, "crops_bytes": 1 << 28},
        "legal": dict.fromkeys(Legal.__struct_fields__, "An example; a city writes its own."),
    }


def describe_hotlist_keys(city: City) -> bytes:
    """Return who may sign hotlists, as it travels with the policy."""
    key = base64.b64encode(_public_spki(city.root / "city/hotlist.key")).decode()
    return json.dumps([{"agency": "Exampleton PD", "key": key}]).encode()


def hand_out_policy(city: City) -> None:
    """Put what was published where the endpoint serves it, and onto the unit."""
    folder = city.book.folder
    _write(city.endpoint / "policy.bundle", (folder / CURRENT).read_bytes())
    _write(city.unit / "policy.bundle", (folder / CURRENT).read_bytes())
    _write(city.unit / "root.json", (folder / ROOT).read_bytes())


def settle_endpoint(city: City, *, port: int) -> None:
    """Let the endpoint listen at another port than was planned."""
    settings = city.endpoint_config.read_text()
    _write(
        city.endpoint_config, settings.replace(f"port = {PLANNED_PORT}", f"port = {port}").encode()
    )


def settle_unit(city: City, *, source: Path, realtime: bool, shedding: bool = False) -> None:
    """Write the unit's settings: which camera, and where its folders are.

    Without shedding a clip loses no frame, however busy the machine.
    """
    unit = city.unit
    lines = [
        f'unit = "{UNIT}"',
        f"state_directory = {json.dumps(str(unit / 'state'))}",
        f"policy = {json.dumps(str(unit / 'policy.bundle'))}",
        f"root = {json.dumps(str(unit / 'root.json'))}",
        f"exchange_directory = {json.dumps(str(unit / 'run'))}",
        f"credentials = {json.dumps(str(unit / 'credentials'))}",
        "[camera]",
        f"source = {json.dumps(str(source))}",
        f"realtime = {'true' if realtime else 'false'}",
        "[shedding]",
        f"enabled = {'true' if shedding else 'false'}",
        "[uplink]",
        "poll_interval_s = 0.2",
        "batch_interval_s = 0",
        "policy_interval_s = 1",
    ]
    _write(city.unit_settings, "\n".join([*lines, ""]).encode())


def enrol_unit(root: Path) -> None:
    """Enrol the unit as `unit add`, `enroll` and the endpoint do, but for the network between them.

    The city also takes down the public halves of the unit's log keys: audits ask for them.
    """
    folder, clock, token = root / "endpoint", SystemClock(), draw_token()
    now = clock.now()
    ticket = make_ticket(UNIT, token, made_at=now, expires_at=now + timedelta(days=1))
    _write(folder / "tickets" / ticket_name(UNIT), ticket)
    signers = make_keys(root / "unit/credentials")
    config = load_config(folder / "endpoint.toml")
    with closing(Units(config.units)) as units:
        registrar = Registrar(
            units=units,
            issuer=config.issuer,
            tickets=config.tickets,
            grace=config.grace,
            clock=clock,
        )

        def exchange(_method: str, _path: str, body: bytes, **_: object) -> Answer:
            return Answer(status=200, reason="OK", content=registrar.enrol(body), headers={})

        certificate = ask(exchange, UNIT, token, signers)
    _write(root / "unit/credentials/tls.crt", certificate.pem)
    for name, signer in (("watch", signers.watch), ("send", signers.send)):
        _write(root / "city" / f"{UNIT}.{name}.der", signer.public_spki)


def _public_spki(private_path: Path) -> bytes:
    return load_signer(bytearray(private_path.read_bytes()), place=str(private_path)).public_spki


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def _furnish_offices(root: Path) -> None:
    """Let each office make its key, and the city begin its folder of policies."""
    held_by = {}
    for office in OFFICES:
        signer = generate_signer()
        held_by[office] = signer.public_key
        _write(root / f"offices/{office}.key", encode_protected_key(signer, PASSPHRASE))
    expires_at = datetime.now(UTC) + timedelta(days=VALID_DAYS)
    root_json = compose_root(held_by, threshold=2, version=1, expires_at=expires_at)
    Book(root / "city" / "policies").write(ROOT, root_json)
