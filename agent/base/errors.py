"""The error tree. Each class says who can mend it and carries its exit code (sysexits.h).

HomeplateError             70
├── ConfigError            78  the operator: settings, policy, command line
├── InputError             66  the operator: a video, picture or index that cannot be used
├── DeviceError            69  the unit: camera, clock, temperature
├── CredentialError        77  provisioning: keys and certificates
├── IntegrityError         65  stop and report: bytes that are not what they claim to be
│   ├── PolicyError        79  the city: a policy that a unit refuses, with the reason
│   └── UpdateError        80  the city: an application that a unit refuses, with the reason
├── SpoolFullError         73  the unit: disk or quota
└── UplinkError            75  try again later
    └── RefusedError       76  the city said no; trying again changes nothing
"""

from typing import ClassVar


class HomeplateError(Exception):
    """Base of all errors that Homeplate raises on purpose."""

    exit_code: ClassVar[int] = 70


class ConfigError(HomeplateError):
    """A setting, policy or argument is wrong; the operator mends it."""

    exit_code = 78


class InputError(HomeplateError):
    """A video, picture or index cannot be used; the operator gives another."""

    exit_code = 66


class DeviceError(HomeplateError):
    """The unit's hardware does not do its work; the technician mends it."""

    exit_code = 69


class CredentialError(HomeplateError):
    """A key or certificate is missing, of the wrong kind or does not fit; provisioning mends it."""

    exit_code = 77


class IntegrityError(HomeplateError):
    """Bytes are not what they claim to be; stop using them and report."""

    exit_code = 65


class PolicyError(IntegrityError):
    """A policy bundle is refused; the one before stays in force.

    Args:
        message: For people.
        reason: One word for machines: size, format, unknown-field, root, signature, expired,
            not-yet-valid, rollback, fork, mix, hash, unit, policy, legal, models, hotlist-keys,
            sealing-key, application.
    """

    exit_code = 79

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UpdateError(IntegrityError):
    """An update of the application is refused; what runs goes on.

    Args:
        message: For people.
        reason: One word for machines: downgrade, fork, failed, length, hash, size, damaged,
            member, build, models, does-not-run.
    """

    exit_code = 80

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SpoolFullError(HomeplateError):
    """The disk or the quota is full; nothing more is kept until space is made."""

    exit_code = 73


class UplinkError(HomeplateError):
    """The city's endpoint was not reached or did not answer as it should; safe to try again."""

    exit_code = 75


class RefusedError(UplinkError):
    """The city's endpoint refused; trying again with the same bytes changes nothing."""

    exit_code = 76
