"""A whole city as its people found it: endpoint, three offices, a published policy, its units."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homeplate_endpoint.founding import Plan, found_endpoint

from agent.trust.bundle_files import encode_bundle
from agent.trust.keys import generate_opener
from tests.policies import OFFICES, Draft, make_root, policy_fields, text64

SERVER_NAME = "reads.city.example"
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Founded:
    """Where everything of the city lies."""

    folder: Path
    """Of the endpoint."""

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

    def fields(self, port: int, version: int = 1) -> dict[str, object]:
        """Return the policy of a city whose endpoint listens at `port`."""
        now = datetime.now(UTC).replace(microsecond=0)
        part = json.loads((self.folder / "endpoint.json").read_text())
        part["endpoint"]["port"] = port
        sealing = text64((self.folder / "sealing.pub").read_bytes())
        return policy_fields(
            version,
            **part,
            issued_at=(now - timedelta(minutes=1)).isoformat(),
            expires_at=(now + timedelta(days=30)).isoformat(),
            sealing={"suite": "P256-HKDF-SHA256-AES256GCM", "public_key": sealing},
        )

    def publish(self, port: int, *, version: int = 1, **changes: object) -> None:
        """Sign a policy for an endpoint at `port` with two offices and write it."""
        held_by = tuple(f"{office}:{self.folder}" for office in OFFICES)
        draft = Draft(
            self.fields(port, version) | changes,
            models=b"",
            roots=(make_root(held_by=held_by),),
            expires_at=datetime.now(UTC) + timedelta(days=30),
        )
        bundle = draft.signed(held_by[0], held_by[2])
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
