"""What the custody tests of network and audit have counted, for the summary at their end."""

from collections import Counter

COUNTS: Counter[str] = Counter()
"""By name; a violation fails its test, so what is counted here went well."""


def count(name: str, number: int = 1) -> None:
    """Add to a count."""
    COUNTS[name] += number
