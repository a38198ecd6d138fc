"""What a pending policy is compared with: only what the offices have published and signed.

A file beside the pending policy proves nothing. Whoever could put a forged one there would have an
office read changes that are none, and sign others. So the policy before is verified under a root,
and where it does not hold, nothing is compared: the office reads the whole policy.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import ConfigError, CredentialError, PolicyError
from agent.base.files import read_bounded
from agent.base.texts import show
from agent.cli.policy_book import CURRENT, ROOT
from agent.cli.policy_words import LABELS, Change, find_changes, tell_changes
from agent.trust.bundle import open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, Bundle, parse_bundle
from agent.trust.policy import parse_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a policy changes, or all that it says."""

    changes: tuple[Change, ...]
    basis: str
    """What it was compared with, or why with nothing."""

    @property
    def shows_all(self) -> bool:
        """Whether the changes are all that the policy says."""
        return len(self.changes) == len(LABELS)

    def tell(self) -> str:
        """Return it as lines for a terminal."""
        return f"{self.basis}\n{tell_changes(self.changes)}"


def compare(path: Path, pending: Bundle, *, root: Path | None = None) -> Comparison:
    """Compare a policy with the one that was published before it.

    Args:
        path: Where `pending` lies; `current.bundle` beside it is what was published before.
        pending: The policy that is to be signed.
        root: A root that the office trusts; None = `root.json` beside it.
    """
    current, root = path.parent / CURRENT, root or path.parent / ROOT
    if path.name == CURRENT or not current.exists():
        return _with_nothing(pending, _why_first(path, pending))
    try:
        before, signed_by = _open_before(current, root)
    except (ConfigError, CredentialError, PolicyError) as error:
        return _with_nothing(pending, str(error))
    if pending.roots[: len(before.roots)] != before.roots:
        return _with_nothing(pending, f"{path} does not follow on {current}: it has other roots")
    basis = f"compared with {current}, signed by {', '.join(signed_by)} under {root}:"
    return Comparison(changes=find_changes(before, pending), basis=show(basis))


def _why_first(path: Path, pending: Bundle) -> str:
    """Return why there is no policy before."""
    if path.name == CURRENT:
        return "this is what is published"
    version = parse_policy(pending.files.policy, place=str(path)).version
    if version == 1:
        return "this is the city's first policy"
    return f"{path.parent / CURRENT} is not there, although this is policy {version}"


def _with_nothing(pending: Bundle, reason: str) -> Comparison:
    basis = show(f"nothing to compare with: {reason}; this is all that the policy says:")
    return Comparison(changes=find_changes(None, pending), basis=basis)


def _open_before(current: Path, root: Path) -> tuple[Bundle, tuple[str, ...]]:
    """Return what was published before and who has signed it; it may have expired.

    Raises:
        ConfigError, CredentialError, PolicyError: It does not hold under the root.
    """
    trusted = trust_root(read_bounded(root, limit_bytes=BUNDLE_LIMIT_BYTES), place=str(root))
    content = read_bounded(current, limit_bytes=BUNDLE_LIMIT_BYTES)
    decision = open_bundle(content, trusted=trusted, now=None, place=str(current))
    return parse_bundle(content, place=str(current)), decision.signed_by
