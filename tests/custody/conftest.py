"""Counts of what was tried, printed at the end: the figures of the durability contract."""

import os

import pytest

COUNTS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config):
    config.stash.setdefault(COUNTS, {})


@pytest.fixture
def counts(request) -> dict[str, str]:
    """Takes what is to be printed at the end, by name."""
    return request.config.stash.setdefault(COUNTS, {})


@pytest.fixture
def long_run() -> bool:
    """Whether the long variants were asked for."""
    return os.environ.get("HOMEPLATE_CUSTODY") == "long"


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(COUNTS, {})
    if found:
        terminalreporter.section("custody")
        for name, text in found.items():
            terminalreporter.write_line(f"{name:<28} {text}")
