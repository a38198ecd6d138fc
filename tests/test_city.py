"""The walk through deploy/docs/city.md, line by line as a newcomer would paste it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.audit import RecordFile
from agent.spool import SpoolReader
from agent.trust.entries import PolicySeen, decode_entry
from deploy.demo.__main__ import find_free_port

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "deploy" / "docs" / "city.md"
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


def seen(walk, process: str) -> list[PolicySeen]:
    """Return what a unit's log says of policies."""
    path = walk[0] / f"units/unit-0001/state/audit/{process}/entries"
    entries = map(decode_entry, RecordFile(path).follow())
    return [entry for entry in entries if isinstance(entry, PolicySeen)]


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


def test_the_city_sees_the_alerts_and_nothing_else(walk):
    told = said(walk, "cat > lookout.csv")
    assert all(plate in told for plate in LOOKED_FOR)
    assert "LEAD ONLY" in told
    assert re.search(r"false alert rate +0\.000000", told)
    assert len(list((walk[0] / "pictures").glob("*.jpg"))) == told.count("ALERT ")


def test_the_unit_is_looked_at_and_every_line_has_its_code(walk):
    told = said(walk, "cat > lookout.csv")
    assert {"HP-101", "HP-301", "HP-302", "HP-303", "HP-404"} <= set(re.findall(r"HP-\d+", told))
    running = said(walk, "homeplate policy edit policies --set retention.hits=60d")
    assert re.search(r"watcher +runs for", running)


def test_the_unit_takes_over_what_two_offices_signed_while_it_watches(walk):
    told = said(walk, "homeplate policy edit policies --set retention.hits=60d")
    assert "retention of hits: 30 days → 60 days" in told
    assert re.search(r"unit-0001 .*policy 2 \(", told)
    for process in ("watch", "send"):
        assert [entry.detail for entry in seen(walk, process) if entry.accepted] == [
            "version 2, root 1, signed by city-manager, clerk"
        ]


def test_what_one_office_signed_is_refused_logged_and_told(walk):
    told = said(walk, "homeplate policy edit policies --set mode=all")
    assert "plates that are on no list will be kept from now on" in told
    assert "refused: one signature is missing" in told
    assert re.search(r"unit-0001 .*policy 2 .*REFUSED signature: ", told)
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


def test_the_audit_passes(walk):
    assert "PASS" in said(walk, "mkdir keys")
