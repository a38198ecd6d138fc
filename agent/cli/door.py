"""The sender's way out: the connection to the endpoint, its certificate kept good."""

from pathlib import Path

from agent.base.clock import Clock
from agent.cli.unit import Unit, renewed_certificate
from agent.pipeline.renewal import Credentials, RenewingUplink
from agent.trust.keys import sign_csr
from agent.uplink import Uplink


def build_uplink(unit: Unit, clock: Clock) -> RenewingUplink:
    """Return the one way out, to the endpoint of the policy.

    Raises:
        ConfigError: There is no certificate.
        CredentialError: Certificate and key are not this unit's.
    """
    key = unit.credential("tls.key")

    def open_door(certificate: Path | None) -> Uplink:
        return Uplink(
            unit.policy.endpoint,
            certificate=certificate,
            key=certificate and key,
            timeout_s=unit.settings.uplink.timeout_s,
        )

    signer = unit.load_signer("tls.key")
    credentials = Credentials(
        unit=unit.settings.unit,
        key=signer.public_key,
        csr=sign_csr(signer, unit.settings.unit),
        first=unit.credential("tls.crt"),
        renewed=renewed_certificate(unit.settings),
    )
    return RenewingUplink(credentials, open_door, clock)
