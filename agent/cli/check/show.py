"""Findings for people and for machines."""

import json
from collections.abc import Iterable
from textwrap import wrap
from typing import Final

from agent.cli.check.codes import SECTIONS
from agent.cli.check.findings import Finding, Level
from agent.cli.terminal import Screen

NAME_WIDTH: Final = 22
LOOKS: Final = {
    Level.GOOD: ("✓", "+", "green"),
    Level.DOUBT: ("!", "!", "yellow"),
    Level.BAD: ("✗", "x", "red"),
    Level.UNKNOWN: ("·", "-", "grey"),
}
"""Symbol, the same in ASCII, colour."""
COUNTED: Final = {
    Level.GOOD: "fine",
    Level.DOUBT: "to look at",
    Level.BAD: "wrong",
    Level.UNKNOWN: "not checked",
}


def draw_finding(finding: Finding, screen: Screen) -> str:
    """Return a finding as aligned lines; below one that is not fine: expected, and what to do."""
    symbol = screen.mark(LOOKS[finding.level])
    head = f"{symbol} {finding.code}  {finding.topic.name:<{NAME_WIDTH}}"
    indent = " " * (2 + len(finding.code) + 2 + NAME_WIDTH)
    width = max(screen.columns - len(indent), 30)
    told = [finding.found]
    if finding.level in {Level.DOUBT, Level.BAD}:
        told.append(f"expected: {finding.topic.expected}")
    if finding.remedy:
        told.append(f"do: {finding.remedy}")
    lines = [
        line
        for text in told
        for line in wrap(text, width, break_on_hyphens=False, break_long_words=False)
    ]
    return "\n".join([head + lines[0], *(indent + line for line in lines[1:])])


def draw_section(finding: Finding, screen: Screen) -> str:
    """Return the heading under which a finding stands."""
    return screen.paint(SECTIONS[finding.code[:4]], "bold")


def draw_summary(findings: Iterable[Finding], code: int, screen: Screen) -> str:
    """Return one line of counts."""
    levels = [finding.level for finding in findings]
    counts = [
        screen.paint(f"{levels.count(level)} {word}", LOOKS[level][2])
        for level, word in COUNTED.items()
        if level in levels
    ]
    return f"{len(levels)} checks: {', '.join(counts)} (exit code {code})"


def encode_findings(findings: Iterable[Finding], *, unit: str, code: int) -> str:
    """Return all findings as one JSON object."""
    listed = [
        {
            "code": finding.code,
            "name": finding.topic.name,
            "level": finding.level.value,
            "found": finding.found,
            "expected": finding.topic.expected,
            "remedy": finding.remedy,
        }
        for finding in findings
    ]
    return json.dumps({"unit": unit, "exit_code": code, "checks": listed}, ensure_ascii=False)
