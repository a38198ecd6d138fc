"""The walk through deploy/docs/city.md, line by line as a newcomer would paste it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.audit import RecordFile
from agent.base.health import LIFETIMES
from agent.base.lanes import Lane
from agent.cli.bench_truth import load_truth
from agent.cli.check.codes import TOPICS
from agent.spool import SpoolReader
from agent.trust.entries import Boot, PolicySeen, Retired, decode_entry
from deploy.demo.__main__ import find_free_port
from tests.test_road import find_plates

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "deploy" / "docs" / "city.md"
TABLE = ROOT / "deploy" / "docs" / "operating.md"
TRUTH = ROOT / "tests" / "data" / "rush.truth.jsonl"
RUNS = ("first", "second", "third")
LOOKED_FOR = {"3PXT435", "5NNU459", "2YVU393", "3FYL979"}
LIMIT_S = 540
"""Until a walk that has lost its way is given up; it measures nothing."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("mcopy") is None, reason="mtools is not installed; .ci/run installs it"
    ),
]


def script(page: str) -> str:
    """Return the commands of the page; the tools are set up already where a test runs."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    text = "\n".join(f"echo '== block {number}'\n{block}" for number, block in enumerate(blocks))
    text = f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{text}"
    return text.replace("deploy/dev setup\n", "").replace(
        "$PWD/.venv/bin", str(Path(sys.executable).parent)
    )


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Walk once; return the folder and what was printed, by block."""
    folder = tmp_path_factory.mktemp("walk")
    for name in ("tests", "models"):
        (folder / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script(PAGE.read_text())],
        cwd=folder,
        env={**os.environ, "PORT": str(find_free_port()), "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    blocks = re.split(r"^== block \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    return folder / "try-out", blocks


def said(walk, words: str) -> str:
    """Return what the block that begins with these words printed."""
    commands = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (number,) = [index for index, block in enumerate(commands) if block.startswith(words)]
    return walk[1][number]


def entries(walk, process: str, *kinds, unit="unit-0001") -> list:
    """Return entries of a unit's log."""
    path = walk[0] / f"units/{unit}/state/audit/{process}/entries"
    return [entry for entry in map(decode_entry, RecordFile(path).follow()) if type(entry) in kinds]


def seen(walk, process: str) -> list[PolicySeen]:
    """Return what a unit's log says of policies."""
    return entries(walk, process, PolicySeen)


def counted(walk, run: str) -> dict[str, int]:
    """Return the watcher's counters at the end of a run."""
    lines = map(json.loads, (walk[0] / f"{run}.out").read_text().splitlines())
    return [line for line in lines if "passages" in line][-1]


def call(walk, *command) -> str:
    """Run one more command in the walk's folder."""
    own = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [own if own.exists() else command[0], *command[1:]],
        cwd=walk[0],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def opened(walk) -> list[dict]:
    """Open with the city's key all that the endpoint holds at the end, of all units and runs."""
    call(walk, "homeplate-endpoint", "export", "--config", "endpoint/endpoint.toml", "all.frames")
    found = call(walk, "homeplate", "open", "all.frames", "--key", "safe", "--json")
    return list(map(json.loads, found.splitlines()))


def passed() -> set[str]:
    """Return the plates that passed; the few short ones may stand in a key's base64 by chance."""
    plates = {vehicle.text for vehicle in load_truth(TRUTH) if len(vehicle.text) >= len("3PXT435")}
    assert len(plates) > len(LOOKED_FOR) + 200
    return plates


def shown() -> list[str]:
    """Return the lines that the page shows as printed."""
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", shown())
def test_what_the_page_shows_is_what_is_printed(walk, line):
    wanted = re.escape(line).replace("…", ".*")
    assert re.search(f"^{wanted}$", "".join(walk[1]), re.MULTILINE)


def test_the_page_waits_for_nothing_without_an_end():
    loops = re.findall(r"^ *(?:until|while) .*", script(PAGE.read_text()), re.MULTILINE)
    assert [line.strip() for line in loops] == ['until "$@" > /dev/null 2>&1; do']


def test_two_of_three_offices_make_a_policy(walk):
    told = said(walk, "homeplate policy sign policies --key police.key")
    assert "1 of 2 signatures (police); 1 missing: city-manager or clerk" in told
    assert "2 of 2 signatures (police, clerk)" in told
    assert "published: policy 1" in told


def test_the_public_page_names_the_policy_that_is_in_force(walk):
    page = (walk[0] / "policy.html").read_text()
    (published,) = re.findall(r"published: policy 1, hash ([0-9a-f]{64})", "".join(walk[1]))
    assert published in page


def test_two_units_enrol(walk):
    told = said(walk, "homeplate-endpoint serve")
    assert "unit-0001" in told
    assert "unit-0002" in told


def test_two_units_share_no_secret(walk):
    folders = [walk[0] / f"units/{unit}" for unit in ("unit-0001", "copied")]  # as 0002 was
    secrets = [
        {path.read_bytes() for path in folder.glob("credentials/*.key")} for folder in folders
    ]
    assert all(len(found) == 3 for found in secrets)
    assert not secrets[0] & secrets[1]
    assert not list(walk[0].glob("units/*/boot/homeplate/enrol.token"))


def test_what_was_flashed_holds_a_token_each_and_no_key(walk):
    tokens = set()
    for unit in ("unit-0001", "unit-0002"):
        image = ("-i", f"{unit}.img@@1M")
        listed = call(walk, "mdir", "-b", *image, "::/homeplate").split()
        names = {name.rpartition("/")[2] for name in listed}
        assert names == {"bundle.json", "enrol.token", "policy.bundle", "root.json", "unit.toml"}
        tokens.add(call(walk, "mtype", *image, "::/homeplate/enrol.token"))
    assert len(tokens) == 2


def test_the_city_sees_the_alerts_with_their_pictures(walk):
    told = said(walk, "cat > lookout.csv")
    assert all(f"  plate       {plate}, " in told for plate in LOOKED_FOR)
    assert told.count("LEAD ONLY - verify plate, state and vehicle") == told.count("ALERT ") == 4
    assert re.search(r"false alert rate +0\.000000", told)
    assert len(list((walk[0] / "pictures").glob("*.jpg"))) == 4


def test_nothing_else_is_at_the_city(walk, opened):
    assert {item["kind"] for item in opened} == {"alert", "end"}
    alerts = [item for item in opened if item["kind"] == "alert"]
    assert {alert["text"] for alert in alerts} == LOOKED_FOR
    assert all(not {"text", "jpeg_bytes"} & set(item) for item in opened if item["kind"] == "end")
    runs = [counted(walk, run) for run in RUNS]
    assert len(alerts) == sum(run["alerts"] for run in runs)
    assert len(opened) == sum(run["alerts"] + run["ends"] for run in runs)
    assert find_plates(walk[0] / "endpoint", sorted(passed() - LOOKED_FOR)) == []


def test_nothing_else_is_on_a_disk_of_the_units(walk):
    for unit in ("unit-0001", "unit-0002", "copied"):
        spool = SpoolReader(walk[0] / f"units/{unit}/state/spool")
        assert {segment.lane for segment in spool.segments()} <= {Lane.HITS}
    assert find_plates(walk[0] / "units", sorted(passed())) == []
    assert find_plates(walk[0] / "endpoint" / "storage", sorted(LOOKED_FOR)) == []


@pytest.mark.parametrize("run", RUNS)
def test_what_was_seen_is_a_hit_or_was_dropped_or_unreadable(walk, run):
    counters = counted(walk, run)
    never_left = counters["turned_away"] + counters["unreadable"]
    assert counters["passages"] == counters["hits"] + never_left
    assert counters["reads"] == counters["crops_sealed"] == counters["dropped"] == 0
    assert counters["sealed"] == counters["alerts"] + counters["ends"]
    lifetimes = {name: counters[name] for _, name in LIFETIMES}
    assert sum(lifetimes.values()) + counters["forgotten_later"] == never_left > 100
    assert counters["forgotten_later"] == 0


def test_the_counters_of_the_first_run_are_shown(walk):
    told = said(walk, "cat > lookout.csv")
    (line,) = re.findall(r"^\{.*\}$", told, re.MULTILINE)
    assert json.loads(line) == counted(walk, "first")
    assert json.loads(line)["hits"] == 4


def test_the_unit_is_looked_at_and_every_line_has_its_code(walk):
    told = re.findall(r"^(\S) (HP-\d+) ", said(walk, "cat > lookout.csv"), re.MULTILINE)
    table = re.findall(r"^\| (HP-\d+) \|", TABLE.read_text(), re.MULTILINE)
    assert [code for _, code in told] == table == list(TOPICS)
    good = {code for mark, code in told if mark in "✓+"}
    assert {"HP-001", "HP-101", "HP-301", "HP-303", "HP-304", "HP-305", "HP-401"} <= good
    running = said(walk, "homeplate policy edit policies --set retention.hits=60d")
    assert re.search(r"watcher +runs for", running)


def test_the_unit_takes_over_what_two_offices_signed_while_it_watches(walk):
    told = said(walk, "homeplate policy edit policies --set retention.hits=60d")
    assert "retention of hits on the unit: 30 days → 60 days" in told
    assert re.search(r"unit-0001 .*policy 2 \(", told)
    for process in ("watch", "send"):
        assert [entry.detail for entry in seen(walk, process) if entry.accepted] == [
            "version 1, root 1, signed by police, clerk",
            "version 2, root 1, signed by city-manager, clerk",
        ]


def test_the_change_came_while_the_unit_was_watching(walk):
    first, second = (entry.policy_hash for entry in seen(walk, "watch") if entry.accepted)
    boots = [entry.policy_hash for entry in entries(walk, "watch", Boot)]
    assert boots == [first, first, second]


def test_what_one_office_signed_is_refused_logged_and_told(walk):
    told = said(walk, "homeplate policy edit policies --set mode=all")
    assert "plates that are on no list will be kept from now on" in told
    assert "refused: one signature is missing" in told
    assert re.search(
        r"unit-0001 .*policy 2 .*REFUSED by the sender, 1 since its start, the last: signature: ",
        told,
    )
    for process in ("watch", "send"):
        (refused,) = [entry for entry in seen(walk, process) if not entry.accepted]
        assert refused.detail.startswith("signature: ")


def test_a_retired_unit_is_refused_even_with_its_old_keys(walk):
    told = said(walk, "homeplate retire --config units/unit-0002")
    assert "refused: something waits" in told
    assert "unit-0002: retired; keys and spool are destroyed" in told
    assert re.search(r"unit-0002 +retired", told)
    told = said(walk, "timeout --signal=TERM 15 homeplate send")
    assert re.search(r"the city refused.*answered 403 .*retired", told)
    assert re.search(r'request refused.*"/v1/frames", "status": 403, "error": "retired"', told)


def test_the_copied_card_had_something_to_upload_and_it_is_still_there(walk):
    waiting = list((walk[0] / "units/copied/state/spool/hits").glob("*"))
    assert waiting
    copied = SpoolReader(walk[0] / "units/copied/state/spool")
    assert any(copied.frames(segment) for segment in copied.segments())
    assert not SpoolReader(walk[0] / "units/unit-0002/state/spool").segments()


def test_the_retired_unit_says_in_its_log_what_it_gave_up(walk):
    (end,) = entries(walk, "send", Retired, unit="unit-0002")
    assert (end.reason, end.reads > 0) == ("taken down", True)
    assert not list((walk[0] / "units/unit-0002/credentials").glob("*.key"))


def test_the_audit_of_every_unit_passes(walk):
    told = said(walk, "mkdir keys")
    for unit in ("unit-0001", "unit-0002"):
        one = told.partition(f"audit of {unit}\n")[2].partition("audit of ")[0]
        assert re.search(r"^RESULT +PASS$", one, re.MULTILINE)
        assert len(re.findall(r"^(?:hits|reads|crops) .* BALANCES$", one, re.MULTILINE)) == 3
    uploaded = {path.parts[-4] for path in walk[0].glob("units/*/state/audit/send")}
    assert uploaded == {"unit-0001", "unit-0002", "copied"}  # nothing of the last was taken
