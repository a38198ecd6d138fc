"""A whole city as its people found it: endpoint, three offices, a published policy, its units."""

import json
import subprocess
import sys
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homeplate_endpoint.founding import Plan, found_endpoint

from agent.trust.bundle_files import BundleFiles, encode_bundle
from agent.trust.keys import Signer, generate_opener, generate_signer
from agent.trust.publishing import add_signature, compose_bundle, compose_root

OFFICES = ("police", "city-manager", "clerk")
SERVER_NAME = "reads.city.example"
ROOT = Path(__file__).resolve().parents[1]
LEGAL = (
    "authorized_purposes",
    "authorized_users_and_training",
    "monitoring",
    "sharing_restrictions",
    "custodian_title",
    "accuracy_measures",
    "retention_and_destruction",
)


@dataclass(frozen=True, slots=True)
class Founded:
    """Where everything of the city lies."""

    folder: Path
    """Of the endpoint."""
    offices: dict[str, Signer] = field(
        default_factory=lambda: {office: generate_signer() for office in OFFICES}
    )

    @property
    def config(self) -> Path:
        """The endpoint's settings."""
        return self.folder / "endpoint.toml"

    @property
    def root(self) -> Path:
        """The trusted root."""
        return self.folder.parent / "root.json"

    @property
    def policy(self) -> Path:
        """The published bundle."""
        return self.folder.parent / "policy.bundle"

    def publish(self, port: int, *, version: int = 1, **changes: object) -> None:
        """Sign a policy for an endpoint at `port` with two offices and write it."""
        now = datetime.now(UTC).replace(microsecond=0)
        ends = now + timedelta(days=30)
        part = json.loads((self.folder / "endpoint.json").read_text())
        part["endpoint"]["port"] = port
        policy = part | {
            "version": version,
            "city": "Exampleton",
            "issued_at": (now - timedelta(minutes=1)).isoformat(),
            "expires_at": ends.isoformat(),
            "sealing": {
                "suite": "P256-HKDF-SHA256-AES256GCM",
                "public_key": b64encode((self.folder / "sealing.pub").read_bytes()).decode(),
            },
            "mode": "all",
            "crops": "all",
            "purposes": ["stolen-vehicle"],
            "min_hit_confidence": 0.9,
            "min_hit_frames": 2,
            "retention": {"hits": "30d", "reads": "24h", "crops": "24h"},
            "quota": {"hits_bytes": 1 << 20, "reads_bytes": 1 << 20, "crops_bytes": 1 << 20},
            "legal": dict.fromkeys(LEGAL, "as the council decided"),
        }
        files = BundleFiles(
            policy=json.dumps(policy | changes).encode(), models=b"", hotlist_keys=b"[]"
        )
        held_by = {office: signer.public_key for office, signer in self.offices.items()}
        root = compose_root(held_by, threshold=2, version=1, expires_at=ends)
        bundle = compose_bundle(files, roots=(root,), version=version, expires_at=ends)
        for office in ("police", "clerk"):
            signer = self.offices[office]
            bundle = add_signature(bundle, key=signer.public_key, sign=signer.sign)
        self.root.write_bytes(bundle.roots[0])
        self.policy.write_bytes(encode_bundle(bundle))


def found(folder: Path) -> Founded:
    """Found a city whose endpoint listens on any port that is free."""
    plan = Plan(
        server_name=SERVER_NAME,
        addresses=("127.0.0.1",),
        port=8443,
        sealing_key=generate_opener().public_key,
    )
    found_endpoint(folder / "endpoint", plan, now=datetime.now(UTC))
    city = Founded(folder / "endpoint")
    city.config.write_text(city.config.read_text().replace("port = 8443", "port = 0"))
    return city


def unit_settings(folder: Path, unit: str) -> str:
    """Return a unit's settings that keep everything within `folder`."""
    places = {
        "state_directory": folder / "state",
        "policy": folder / "etc/policy.bundle",
        "root": folder / "etc/root.json",
        "credentials": folder / "etc/credentials",
        "exchange_directory": folder / "run",
    }
    lines = [f'unit = "{unit}"', *(f'{name} = "{path}"' for name, path in places.items())]
    return "\n".join([*lines, "[camera]", 'source = "x.mp4"', ""])


def homeplate(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command of `homeplate` to its end."""
    command = [sys.executable, "-m", "agent", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
