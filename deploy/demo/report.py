"""The demo's outcome, and the table that a person reads at its end."""

import html
import sys
from dataclasses import dataclass
from typing import Any

from deploy.demo.score import Score

WIDTH = 74
STRICT_GOAL_PERCENT = 95.0
GREEN = ' fill="#7ee787"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that the demo found."""

    score: Score
    counters: dict[str, int]
    """Of the watcher."""
    sent: dict[str, int]
    """Counters of the sender."""
    elapsed_s: float
    """From the start of both processes until all was sent and deleted."""
    left_in_spool: int
    """Files."""
    frames_tried: int
    """Sealed frames that the unit's own keys were tried on."""
    opened_by_unit: int
    audit: dict[str, Any]
    addresses: list[str] | None
    """That the sender called; None = not traced."""
    watcher_calls: int | None
    """Network calls of the watcher; None = not traced."""

    @property
    def checks(self) -> list[tuple[bool, str, str]]:
        """Each promise: whether it held, its name, what was found."""
        score, sealed = self.score, self.counters["sealed"]
        rows = [
            (score.strict_percent >= STRICT_GOAL_PERCENT,
             f"strict accuracy after voting ≥ {STRICT_GOAL_PERCENT:.0f} %",
             f"{score.right} of {score.vehicles} vehicles, {score.strict_percent:.1f} %"),
            (score.reads == sealed == self.sent["reads_uploaded"],
             "what was sealed is what the city opens",
             f"{sealed} sealed, {self.sent['reads_uploaded']} receipted, {score.reads} opened"),
            (self.left_in_spool == 0, "the spool is empty", f"{self.left_in_spool} files left"),
            (self.opened_by_unit == 0 < self.frames_tried,
             "the unit cannot open what it sealed",
             f"all its keys tried on {self.frames_tried} frames: {self.opened_by_unit} opened"),
            (self.audit["exit_code"] == 0, "homeplate audit verify",
             "PASS" if self.audit["exit_code"] == 0 else self.audit["detail"]),
        ]  # fmt: skip
        if self.addresses is not None:
            found = ", ".join(self.addresses)
            rows.append((len(self.addresses) == 1, "the sender calls one address", found))
        if self.watcher_calls is not None:
            found = f"{self.watcher_calls} calls"
            rows.append((self.watcher_calls == 0, "the watcher makes no network call", found))
        return rows

    @property
    def holds(self) -> bool:
        """Whether every promise held."""
        return all(held for held, _, _ in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name."""
        return {
            "holds": self.holds,
            "score": self.score.as_dict(),
            "watch": self.counters,
            "send": self.sent,
            "elapsed_s": round(self.elapsed_s, 3),
            "left_in_spool": self.left_in_spool,
            "frames_tried": self.frames_tried,
            "opened_by_unit": self.opened_by_unit,
            "audit": self.audit,
            "addresses": self.addresses,
            "watcher_calls": self.watcher_calls,
        }


def draw_report(outcome: Outcome) -> str:
    """Return the table."""
    lines = ["", _rule("┌", "─", "┐"), _row("From a recorded video to the city's receipts")]
    for title, figures in _sections(outcome):
        lines += [
            _rule("├", "─", "┤"),
            _row(title),
            *(_row(f"  {n:<46}{v:>22}") for n, v in figures),
        ]
    lines += [_rule("├", "─", "┤"), _row("Promises, each shown by trying")]
    for held, name, found in outcome.checks:
        lines += [_row(f"  {_mark(held=held)} {name}"), _row(f"      {found}"[: WIDTH - 2])]
    return "\n".join([*lines, _rule("└", "─", "┘")])


def draw_picture(table: str) -> str:
    """Return the table as an SVG picture of a terminal, for the README."""
    lines = table.strip("\n").splitlines()
    width, height = 9 * max(map(len, lines)) + 40, 20 * len(lines) + 40
    rows = "".join(
        f'<text x="20" y="{34 + 20 * row}" textLength="{9 * len(line)}" xml:space="preserve"'
        f"{GREEN if '✓' in line else ''}>"
        f"{html.escape(line)}</text>\n"
        for row, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" '
        f'font-family="monospace" font-size="15" fill="#e6edf3">\n'
        f"<title>Output of deploy/dev demo</title>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>\n{rows}</svg>\n'
    )


def _sections(outcome: Outcome) -> list[tuple[str, list[tuple[str, str]]]]:
    seen, sent, score = outcome.counters, outcome.sent, outcome.score
    minutes = max(seen["watching_ms"], 1) / 60_000
    return [
        ("Seen by the watcher (it makes no network call)", [
            ("frames", f"{seen['frames']}"),
            ("plates found, each in every frame", f"{seen['plates']}"),
            ("plate reads, until a vehicle's text is certain", f"{seen['crops_read']}"),
            ("frames a second", f"{seen['frames'] / minutes / 60:.0f}"),
            ("plate reads a minute", f"{seen['crops_read'] / minutes:,.0f}"),
            ("vehicles a minute", f"{score.reads / minutes:,.0f}"),
        ]),
        ("Kept and sent by the sender (it sees only sealed bytes)", [
            ("sealed frames written", f"{seen['frames_sealed']}"),
            ("sealed frames uploaded and receipted", f"{sent['frames_uploaded']}"),
            ("segments deleted after receipt", f"{sent['segments_deleted']}"),
        ]),
        ("Opened by the city, with the key that only the city has", [
            ("vehicles in the truth", f"{score.vehicles}"),
            ("reads opened", f"{score.reads}"),
            ("of them unreadable", f"{score.abstained}"),
            ("of them wrong", f"{score.wrong}"),
            ("pictures of plates opened", f"{score.crops}"),
            ("vehicles read exactly", f"{score.right}"),
        ]),
    ]  # fmt: skip


def _mark(*, held: bool) -> str:
    mark = "✓" if held else "✗"
    if not sys.stdout.isatty():
        return mark
    return f"\033[{32 if held else 31}m{mark}\033[0m"


def _row(text: str) -> str:
    hidden = len(text) - len(
        text.replace("\033[32m", "").replace("\033[31m", "").replace("\033[0m", "")
    )
    return f"│ {text:<{WIDTH - 2 + hidden}} │"


def _rule(left: str, line: str, right: str) -> str:
    return left + line * WIDTH + right
