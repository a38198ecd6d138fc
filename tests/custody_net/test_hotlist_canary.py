"""The hotlist in use and the reads that are no hits are in no byte of the unit, also after a kill.

Endpoint, sender and watcher are real processes. The watcher is killed or aborted, with cores
forced, while it holds a list with canaries and plates that it has turned away; then every byte of
the unit's folders, its exchange folder, the logs and the working folders is searched.
"""

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from agent.cli import main
from agent.cli.bench_truth import load_truth
from agent.trust.hotlist import peek_hotlist
from deploy.demo.__main__ import find_free_port, serving
from deploy.demo.city import found_city, publish_policy, settle_endpoint, settle_unit
from tests.custody_net.counts import count
from tests.custody_net.test_canary import CLIP, bytes_in, start
from tests.test_road import TRUTH, find_plates

pytestmark = [pytest.mark.custody, pytest.mark.slow]
CANARIES = ("7CANARY4", "3HOTL1ST")
LATER_FRAME = 120
"""By then the list has come: four seconds after the clip begins."""


def vehicles():
    return load_truth(TRUTH)


def write_table(path, plates):
    until = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    lines = [f"{plate},CA,stolen-vehicle,Exampleton PD,26-CASE77,{until}" for plate in plates]
    path.write_text("plate,state,purpose,agency,case,expires\n" + "\n".join(lines) + "\n")


def sign_for(city, folder, plates):
    """Let the office sign a list with its own command; the endpoint serves it from then on."""
    table, book = folder / "office.csv", city.root / "city/policies"
    write_table(table, plates)
    out = city.endpoint / "hotlist.signed"
    policy = next(book.glob("*.bundle"))
    done = main(
        ["hotlist", "sign", str(table), "--key", str(city.root / "city/hotlist.key"),
         "--policy", str(policy), "--root", str(book / "root.json"), "--out", str(out)]
    )  # fmt: skip
    assert done == 0
    return out.read_bytes()


def run_until(watcher, enough):
    """Follow the watcher's counters until they are `enough`, or it ends."""
    counters = {}
    for line in watcher.stdout:
        counters = json.loads(line)
        if enough(counters):
            break
    return counters


@pytest.fixture(params=[signal.SIGKILL, signal.SIGABRT], ids=["killed", "aborted"])
def ended(request, tmp_path):
    """A unit that alerted once and turned plates away, then was ended; all that it leaves."""
    for name in ("logs", "work", "office"):
        (tmp_path / name).mkdir()
    city, port = found_city(tmp_path / "city"), find_free_port()
    publish_policy(city, port=port, mode="hits-only")
    settle_endpoint(city, port=port)
    settle_unit(city, source=CLIP, realtime=True)
    late = [vehicle.text for vehicle in vehicles() if vehicle.first_frame > LATER_FRAME]
    signed = sign_for(city, tmp_path / "office", [*CANARIES, *late[::2]])
    with (
        serving(city, tmp_path / "logs"),
        (tmp_path / "logs/watch").open("wb") as watch_log,
        (tmp_path / "logs/send").open("wb") as send_log,
    ):
        work, config = tmp_path / "work", ["--config", city.unit_settings]
        sender = start(
            ["-m", "agent", "send", *config], work, stdout=subprocess.DEVNULL, stderr=send_log
        )
        watcher = start(
            ["-m", "agent", "watch", "--progress", *config],
            work,
            stdout=subprocess.PIPE,
            stderr=watch_log,
        )
        counters = run_until(watcher, lambda now: now["alerts"] >= 2 and now["turned_away"] >= 2)
        for process in (watcher, sender):
            process.send_signal(request.param)
            process.wait()
        watcher.stdout.close()
    return tmp_path, city, signed, counters


def test_neither_the_list_nor_what_was_turned_away_is_in_any_byte_of_the_unit(ended, capsys):
    folder, city, signed, counters = ended
    assert counters["alerts"] >= 2, (folder / "logs/watch").read_text()
    assert counters["turned_away"] >= 2
    assert counters["passages"] == sum(
        counters[name] for name in ("hits", "turned_away", "unreadable")
    )
    assert (city.unit / "run/hotlist.sealed").exists()
    texts = [*CANARIES, "26-CASE77", *(vehicle.text for vehicle in vehicles())]
    places = (city.unit, folder / "work", folder / "logs")
    for place in places:
        assert find_plates(place, texts) == []
        assert [path for path in place.rglob("core*") if path.is_file()] == []
    pieces = [column for column in peek_hotlist(signed).columns if len(column) > 24]
    left = [path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()]
    assert not any(piece in content for piece in pieces for content in left)
    count("bytes searched for the hotlist after a kill", sum(map(bytes_in, places)))


def test_the_search_finds_a_list_that_lies_about(ended):
    folder, city, signed, _ = ended
    assert find_plates(folder / "office", list(CANARIES)) != []
    pieces = [column for column in peek_hotlist(signed).columns if len(column) > 24]
    served = (city.endpoint / "hotlist.signed").read_bytes()
    assert all(piece in served for piece in pieces)


def test_the_city_sees_the_alerts_as_leads_and_no_other_plate(ended, capsys):
    _, city, _, _ = ended
    capsys.readouterr()
    main(["open", str(city.unit / "state/spool"), "--key", str(city.opening_key), "--alerts"])
    shown = capsys.readouterr().out
    alerts = [line for line in shown.splitlines() if line.startswith("ALERT")]
    assert len(alerts) >= 1
    assert all(line.endswith("LEAD ONLY - verify plate, state and vehicle") for line in alerts)
    assert "stolen-vehicle, Exampleton PD, case 26-CASE77" in shown
    late = [vehicle.text for vehicle in vehicles() if vehicle.first_frame > LATER_FRAME]
    others = {vehicle.text for vehicle in vehicles()} - set(late[::2])
    assert not any(text in shown for text in others)
