"""Prints what was counted, at the end of a run."""

from tests.custody_net.counts import COUNTS


def pytest_terminal_summary(terminalreporter):
    if COUNTS:
        terminalreporter.section("custody: network and audit")
        for name, number in COUNTS.items():
            terminalreporter.write_line(f"{name:<46}{number:>14,}")
