"""Does the watcher keep up with its camera?"""

from collections.abc import Iterator
from typing import Final

from agent.base.health_file import Health
from agent.cli.check.findings import Finding, grade, safely, unknown
from agent.cli.check.subject import Subject

SOME, MANY = 0.01, 0.1
"""Of the frames of the last minute."""
START: Final = "start it and check again after a minute"


def look_at_pace(subject: Subject) -> Iterator[Finding]:
    """Answer HP-208 from what the watcher tells."""
    yield safely("HP-208", lambda: judge_pace(subject.health("watch")))


def judge_pace(health: Health | None) -> Finding:
    """Judge HP-208."""
    if health is None:
        return unknown("HP-208", "the watcher does not run, and only it knows", remedy=START)
    frames, shed = health.lately.get("frames", 0), health.lately.get("frames_shed", 0)
    since = health.counters.get("frames_shed", 0)
    found = (
        f"{shed} of {frames} frames left out in the last {health.lately_s:.0f} s "
        f"(frames_shed), {since} since the start"
    )
    return grade("HP-208", found, is_bad=shed > MANY * frames, is_doubtful=shed > SOME * frames)
