"""Policies that came while a process was away: into its log before anything else can fail."""

import logging
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Literal

from agent.audit import AuditLog, read_policy_history
from agent.base.clock import Clock, to_ms
from agent.base.errors import ConfigError, HomeplateError, PolicyError
from agent.base.files import read_handed, read_secret
from agent.base.settings import Settings
from agent.cli.unit import KEY_LIMIT_BYTES, Unit, load_settings, load_unit
from agent.policy import DETAIL_LIMIT
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.entries import PolicySeen
from agent.trust.keys import load_signer
from agent.trust.policy_history import name_refusal

log = logging.getLogger(__name__)


def log_arrivals(
    unit: Unit, process: Literal["watch", "send"], arrivals: Sequence[PolicySeen], clock: Clock
) -> None:
    """Enter what became of policies into the log of a process, which has not begun yet.

    Raises:
        DeviceError, SpoolFullError: The log cannot be written.
    """
    if not arrivals:
        return
    folder: Path = unit.watch_audit if process == "watch" else unit.send_audit
    signer = unit.load_signer(f"{process}.key")
    origin = f"homeplate/{unit.settings.unit}/{process}"
    with closing(AuditLog(folder, signer, origin, clock)) as audit:
        audit.append_all(arrivals)


def load_service(
    path: Path,
    process: Literal["watch", "send"],
    clock: Clock,
    *,
    credentials: Path | None,
    models_sha256: bytes | None = None,
) -> Unit:
    """Return the unit as `load_unit` does; what ends the start for its policy is logged first.

    Raises:
        PolicyError: The flashed policy does not verify, and none is remembered.
        ConfigError, IntegrityError, DeviceError: As `load_unit`.
    """
    try:
        return load_unit(path, process, models_sha256=models_sha256, credentials=credentials)
    except PolicyError as error:
        settings = load_settings(path)
        folder = Path(settings.credentials) if credentials is None else credentials
        try:
            _log_no_start(settings, process, folder / f"{process}.key", error, clock)
        except HomeplateError as second:  # the first one is what the operator needs
            log.error("refusal not logged", extra={"detail": str(second)})  # noqa: TRY400
        raise


def _log_no_start(
    settings: Settings, process: str, key: Path, error: PolicyError, clock: Clock
) -> None:
    """Log a flashed policy with which nothing begins; over restarts once, as any refusal."""
    folder = Path(settings.state_directory) / "audit" / process
    bundle = _hash_file(Path(settings.policy))
    if name_refusal(bundle, error.reason) in read_policy_history(folder).refused:
        return
    seen = PolicySeen(
        at_ms=to_ms(clock.now()),
        policy_hash=bundle,
        accepted=False,
        detail=f"{error.reason}: {error}"[:DETAIL_LIMIT],
        version=0,
        root_version=0,
        flashed_root=_hash_file(Path(settings.root)),
    )
    signer = load_signer(read_secret(key, limit_bytes=KEY_LIMIT_BYTES), place=str(key))
    with closing(AuditLog(folder, signer, f"homeplate/{settings.unit}/{process}", clock)) as audit:
        audit.append(seen)


def _hash_file(path: Path) -> bytes:
    """Return the SHA-256 of a file, that of nothing where it is too large or cannot be read."""
    try:
        content = read_handed(path, limit_bytes=BUNDLE_LIMIT_BYTES)
    except ConfigError:
        content = None
    return sha256(content or b"").digest()
