"""The whole check: every code once, in order, understandable, without a traceback."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent.base.errors import DeviceError
from agent.cli.check import ask, check_unit, choose_exit_code
from agent.cli.check.codes import SECTIONS, TOPICS
from agent.cli.check.findings import Level, bad, doubt, good, unknown, wrong
from agent.cli.check.show import draw_finding, draw_summary, encode_findings
from agent.cli.machine import Machine
from agent.cli.terminal import Screen, look_at
from tests.fakes import FakeClock

ROOT = Path(__file__).parents[3]
OPERATING = ROOT / "deploy" / "docs" / "operating.md"
PLAIN = Screen(columns=100, colours=False, symbols=True)


def homeplate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def unit(tmp_path):
    """Return the settings of a unit that was put up but has no camera, keys or policy yet."""
    (tmp_path / "state").mkdir(mode=0o700)
    place = tmp_path / "unit.toml"
    place.write_text(
        f'unit = "unit-7"\nstate_directory = "{tmp_path}/state"\n'
        f'exchange_directory = "{tmp_path}/exchange"\ncredentials = "{tmp_path}/keys"\n'
        f'policy = "{tmp_path}/policy.bundle"\nroot = "{tmp_path}/root.json"\n'
        f'[camera]\nsource = "{tmp_path}/no-camera"\n'
        '[site]\nname = "5th and Main"\nposition = [38.58, -121.49]\nheading_degrees = 15.0\n'
    )
    return place


def test_the_table_of_codes_in_the_documents_is_the_one_in_the_code():
    rows = [line for line in OPERATING.read_text().splitlines() if line.startswith("| HP-")]
    told = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    assert [[cell.replace("\\|", "|") for cell in row] for row in told] == [
        [t.code, t.name, t.expected, t.remedy, str(t.error.exit_code)] for t in TOPICS.values()
    ]


def test_codes_rise_and_every_one_has_a_section_and_words():
    assert list(TOPICS) == sorted(TOPICS)
    for topic in TOPICS.values():
        assert re.fullmatch(r"HP-\d{3}", topic.code)
        assert topic.code[:4] in SECTIONS
        assert min(len(topic.name), len(topic.expected), len(topic.remedy)) > 3


def test_on_a_machine_without_a_camera_every_line_is_coded_and_understandable(unit):
    done = homeplate("check", "--config", unit)
    lines = re.findall(r"(?m)^[✓✗!·] (HP-\d{3})  (\S.*)$", done.stdout)
    assert [code for code, _ in lines] == list(TOPICS)
    assert all(len(text.split()) >= 2 for _, text in lines)
    assert done.returncode == 66  # the first thing that is wrong: there is no such camera
    assert (done.stderr, "\x1b" in done.stdout) == ("", False)
    text = " ".join(done.stdout.split())
    assert f"{unit.parent}/no-camera: cannot be opened" in text
    assert "unit-7, 5th and Main, 38.58000, -121.49000, looks to 15°" in text
    assert "30 checks:" in done.stdout


def test_every_finding_that_is_not_fine_says_what_to_do(unit):
    for finding in check_unit(unit, machine=Machine(), clock=FakeClock()):
        assert finding.found
        if finding.level in {Level.DOUBT, Level.BAD}:
            assert finding.remedy
        assert (finding.exit_code != 0) == (finding.level is Level.BAD)


@contextmanager
def nobody():
    """Be another user, who may not read what is root's alone."""
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_not_see_something_is_told_to_be_root(unit):
    for name in ("state/audit/watch", "state/spool", "state/policy/watch", "keys"):
        (unit.parent / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory() as elsewhere:  # the folders of pytest are closed to others
        place = Path(shutil.move(unit.parent, elsewhere)) / unit.name
        place.write_text(place.read_text().replace(str(unit.parent), str(place.parent)))
        for folder in (place.parent, place.parent.parent):
            folder.chmod(0o755)
        list(check_unit(place, machine=Machine(), clock=FakeClock()))  # loads what is loaded late
        with nobody():
            findings = list(check_unit(place, machine=Machine(), clock=FakeClock()))
    found = {item.code: item for item in findings}
    assert list(found) == list(TOPICS)
    for code in ("HP-201", "HP-205", "HP-301", "HP-304", "HP-402", "HP-403"):
        assert found[code].level is Level.UNKNOWN, found[code]
        assert found[code].remedy == "run this check as root"


def test_the_same_in_json(unit):
    done = homeplate("check", "--config", unit, "--json")
    told = json.loads(done.stdout)
    assert (told["unit"], told["exit_code"]) == ("unit-7", done.returncode)
    assert [item["code"] for item in told["checks"]] == list(TOPICS)
    assert {item["level"] for item in told["checks"]} <= {level.value for level in Level}


def test_without_settings_the_machine_is_still_looked_at(tmp_path):
    done = homeplate("check", "--config", tmp_path / "none.toml", "--json")
    told = {item["code"]: item for item in json.loads(done.stdout)["checks"]}
    assert list(told) == list(TOPICS)
    assert done.returncode == 78
    assert told["HP-001"]["level"] == "error"
    assert told["HP-406"]["level"] != "skipped"
    assert "HP-001" in told["HP-101"]["found"]


def test_a_look_that_breaks_off_leaves_no_question_without_an_answer():
    def look():
        yield good("HP-201", "fine")
        message = "the disk failed"
        raise DeviceError(message)

    found = {item.code: item for item in ask("HP-2", look())}
    assert list(found) == [code for code in TOPICS if code.startswith("HP-2")]
    assert found["HP-202"].found == "the disk failed"
    assert found["HP-203"].level is Level.UNKNOWN


def test_the_exit_code_is_that_of_the_first_thing_wrong():
    fine, odd = good("HP-201", "fine"), doubt("HP-202", "odd")
    assert choose_exit_code([fine, odd, unknown("HP-203", "why")]) == 0
    assert choose_exit_code([fine, bad("HP-402", "open"), wrong("HP-101", DeviceError("x"))]) == 77


def test_a_finding_that_is_not_fine_says_what_was_expected_and_what_to_do():
    lines = draw_finding(doubt("HP-206", "72 °C"), PLAIN).splitlines()
    assert lines[0].startswith("! HP-206  temperature")
    assert lines[1].strip().startswith("expected: below 78 °C")
    assert lines[2].strip().startswith("do: shade")
    assert {len(line) - len(line.lstrip()) for line in lines[1:]} == {lines[0].index("72 °C")}


def test_long_findings_are_folded_to_the_width():
    narrow = Screen(columns=60, colours=False, symbols=True)
    text = draw_finding(bad("HP-405", "word " * 60), narrow)
    assert max(map(len, text.splitlines())) <= 67  # 30 columns of text at least


def test_colour_and_symbols_are_for_terminals_that_have_them():
    colourful = Screen(columns=80, colours=True, symbols=True)
    assert "\x1b[31m✗" in draw_finding(bad("HP-406", "/swap"), colourful)
    ascii_only = Screen(columns=80, colours=False, symbols=False)
    assert draw_finding(bad("HP-406", "/swap"), ascii_only).startswith("x HP-406")


class Terminal(io.StringIO):
    encoding = "UTF-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "colours"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_what_a_stream_can_show_is_asked_of_it(stream, environment, colours):
    assert look_at(stream, environment).colours is colours


def test_a_summary_counts_what_there_is():
    findings = [good("HP-201", "a"), good("HP-202", "b"), bad("HP-406", "c")]
    assert draw_summary(findings, 78, PLAIN) == "3 checks: 2 fine, 1 wrong (exit code 78)"
    assert json.loads(encode_findings(findings, unit="u", code=78))["checks"][2]["found"] == "c"
