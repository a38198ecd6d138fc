"""A city with a running endpoint: real process, real TLS, real files."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from homeplate_endpoint.units import NewCertificate, Units

from agent.base.clock import to_ms
from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.enrolment import Keys, read_certificate
from agent.trust.entries import Sealed, encode_entry
from agent.trust.frames import SealedFrame, encode_frame, frame_hash, parse_frame
from agent.trust.header import NO_FRAME, FrameHeader
from agent.trust.keys import Signer, encode_private_key, generate_opener, generate_signer
from agent.trust.merkle import Tree, leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, log_origin, sign_checkpoint
from agent.trust.policy import Endpoint
from agent.trust.proofs import BlockTree
from agent.trust.uploads import Upload
from agent.uplink import Uplink
from tests.certificates import SERVER_NAME, Identity, issue, make_authority

ROOT = Path(__file__).resolve().parents[2]
BOOT = b"boot of the unit"
START_LIMIT_S = 60
SEGMENT = "0000000001000-626f6f74-000000"
SEALED_MS = 1_500
UNITS = ("unit-a", "unit-b")


def is_frame(content: bytes) -> bool:
    """Tell a whole frame from something else."""
    try:
        parse_frame(content)
    except IntegrityError:
        return False
    return True


def sealed_entry(frame: bytes) -> Sealed:
    """Return what the watcher logs of a frame."""
    header = parse_frame(frame).header
    return Sealed(
        at_ms=SEALED_MS,
        lane=header.lane,
        boot=header.boot,
        first=header.first_sequence,
        last=header.last_sequence,
        frame=frame_hash(frame),
        length=len(frame),
        segment=SEGMENT,
    )


@dataclass(slots=True)
class WatchLog:
    """Stands for a unit's watcher: a log that grows, its checkpoints and proofs."""

    unit: str
    signer: Signer = field(default_factory=generate_signer)
    leaves: list[bytes] = field(default_factory=list)
    seen: int = 0
    """Entries that the city has seen."""
    places: dict[bytes, int] = field(default_factory=dict)
    """Index of each frame's entry, by the frame."""

    def store(self, frame: bytes) -> None:
        """Log a frame, once; one that is none gets an entry of some kind."""
        index = self.places.get(frame, len(self.leaves))
        if index == len(self.leaves):
            self.places[frame] = index
            self.grow(encode_entry(sealed_entry(frame)) if is_frame(frame) else frame)

    def grow(self, entry: bytes) -> None:
        """Add an entry."""
        self.leaves.append(leaf_hash(entry))

    def head(self) -> Checkpoint:
        """Return what the log is now."""
        origin = log_origin(self.unit, "watch")
        root = Tree(self.leaves).root()
        return Checkpoint(
            origin=origin, size=len(self.leaves), root=root, number=1, previous=NO_NOTE
        )

    def upload(self, *frames: bytes, seen: int = 0) -> Upload:
        """Return an upload under the present head, for a city that has seen `seen` entries."""
        for frame in frames:
            self.store(frame)
        indices = [self.places[frame] for frame in frames]
        tree = BlockTree(lambda _: ())
        for leaf in self.leaves:
            tree.append(leaf)
        return Upload(
            frames=frames,
            checkpoint=sign_checkpoint(self.signer, self.head()),
            previous_size=seen,
            proof=Tree(self.leaves[:seen]).prove_growth(self.leaves[seen:]),
            segment=SEGMENT,
            places=tuple((index, SEALED_MS) for index in indices),
            membership=tree.prove_members(indices),
        )


@dataclass(frozen=True, slots=True)
class City:
    """All that a test needs to know of it."""

    folder: Path
    authority: Identity
    server: Identity
    receipt_signer: Signer
    logs: dict[str, WatchLog]

    @property
    def config(self) -> Path:
        """The endpoint's settings."""
        return self.folder / "endpoint.toml"

    def endpoint(self, port: int) -> Endpoint:
        """Return the endpoint as the policy names it."""
        return Endpoint(
            addresses=("127.0.0.1",),
            port=port,
            server_name=SERVER_NAME,
            ca_pem=self.authority.pem,
            spki_pins=(self.server.pin,),
        )

    def identity(self, unit: str) -> Identity:
        """Return a new certificate of an enrolled unit, which the endpoint knows."""
        identity = issue(self.authority, unit)
        if unit in self.logs:
            register(self.folder, unit, identity, self.logs[unit].signer)
        return identity

    def uplink(self, port: int, unit: str, *, authority: Identity | None = None) -> Uplink:
        """Return the uplink of a unit, with a new certificate by the city's CA or by another."""
        identity = issue(authority, unit) if authority else self.identity(unit)
        certificate, key = identity.write(self.folder, unit)
        return Uplink(self.endpoint(port), certificate=certificate, key=key, timeout_s=30)


def found_city(folder: Path, *, body_limit_bytes: int = 4_194_304) -> City:
    """Write everything that an endpoint needs into `folder`."""
    authority = make_authority()
    server = issue(authority, "the city's endpoint", server_name=SERVER_NAME)
    city = City(
        folder=folder,
        authority=authority,
        server=server,
        receipt_signer=generate_signer(),
        logs={unit: WatchLog(unit) for unit in UNITS},
    )
    server.write(folder, "server")
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "receipt.key").write_bytes(encode_private_key(city.receipt_signer))
    (folder / "sealing.der").write_bytes(generate_opener().public_spki)
    (folder / "issuing.key").write_bytes(authority.key_pem)
    city.config.write_text(
        f'port = 0\nstorage = "storage"\nreceipt_key = "receipt.key"\n'
        f'sealing_key = "sealing.der"\nbody_limit_bytes = {body_limit_bytes}\n'
        f'[tls]\ncertificate = "server.crt"\nkey = "server.key"\nclient_ca = "ca.pem"\n'
        '[enrolment]\nissuing_key = "issuing.key"\n'
    )
    return city


def register(folder: Path, unit: str, identity: Identity, watch: Signer) -> None:
    """Enter a unit's certificate into the register, and the unit where it is not there yet."""
    content = identity.certificate.public_bytes(serialization.Encoding.DER)
    certificate = NewCertificate(
        serial=identity.certificate.serial_number,
        issued_ms=to_ms(datetime.now(UTC)),
        expires_ms=to_ms(identity.certificate.not_valid_after_utc),
        content=content,
    )
    tls = read_certificate(content, place=unit).key
    with closing(Units(folder / "units.sqlite")) as units:
        if units.find(unit) is None:
            keys = Keys(tls=tls, watch=watch.public_key, send=generate_signer().public_key)
            units.enrol(unit, keys, sha256(content).digest(), certificate)
        else:
            units.add_certificate(unit, certificate)


@dataclass(slots=True)
class Running:
    """An endpoint process."""

    process: subprocess.Popen[bytes]
    port: int

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def run_endpoint(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the endpoint to its end."""
    return subprocess.run(
        _command(*arguments),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )


@contextmanager
def serving(city: City) -> Iterator[Running]:
    """Run the endpoint until the block ends."""
    port_file = city.folder / "port"
    port_file.unlink(missing_ok=True)
    with (city.folder / "stderr").open("ab") as errors:
        process = subprocess.Popen(
            _command("serve", "--config", city.config, "--port-file", port_file),
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        _await_ready(process, city.folder / "stderr", port_file)
        yield Running(process, int(port_file.read_text()))
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT_S)
        process.stdout.close()


def _await_ready(process: subprocess.Popen[bytes], errors: Path, port_file: Path) -> None:
    """Wait for the port file, or tell why the process ended."""
    while not port_file.exists():
        ended, _, _ = select.select([process.stdout], [], [], 0.02)
        assert not ended, errors.read_text()


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "homeplate_endpoint", *map(str, arguments)]


def _environment() -> dict[str, str]:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "deploy/endpoint")))
    return {**os.environ, "PYTHONPATH": paths}


def make_frame(
    unit: str = "unit-a",
    *,
    first: int = 0,
    last: int | None = None,
    lane: Lane = Lane.READS,
    sealed: bytes = b"sealed",
    boot: bytes = BOOT,
) -> bytes:
    """Return a frame as the endpoint sees it: what is sealed in it is none of its business."""
    header = FrameHeader(
        suite="P256-HKDF-SHA256-AES256GCM",
        key_id=b"city key",
        unit=unit,
        boot=boot,
        lane=lane,
        first_sequence=first,
        last_sequence=first if last is None else last,
        first_ms=1_000,
        last_ms=2_000,
        policy_sha256=bytes(32),
        model_sha256=bytes(32),
        previous_sha256=NO_FRAME,
    )
    return encode_frame(SealedFrame(header=header, sealed=sealed))
