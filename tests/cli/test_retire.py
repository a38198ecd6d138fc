"""The end of a unit: what is destroyed, in which order, and who is told."""

import itertools
import json
from datetime import UTC, datetime

import pytest

from agent.audit import AuditLog
from agent.audit.files import ENTRIES, RecordFile
from agent.base.clock import SystemClock
from agent.base.errors import ConfigError
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli import main
from agent.cli.door import build_uplink
from agent.cli.send import build_sending
from agent.cli.unit import load_unit
from agent.cli.watch import build_keeping
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.entries import Boot, Deleted, PolicySeen, Retired, Sealed, decode_entry
from agent.trust.frames import frame_hash
from agent.trust.keys import load_signer
from agent.trust.notes import log_origin
from agent.trust.retirement import open_statement
from tests.cli.test_enroll import Unit, cuts, refused
from tests.endpoint.city import BOOT, make_frame, run_endpoint, serving
from tests.founded import found

pytestmark = pytest.mark.slow
NAMES = (f"retired-{number:04}" for number in itertools.count(1))
GONE = ("tls.crt", "tls.key", "watch.key", "send.key")


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A city whose endpoint serves all tests of this module."""
    city = found(tmp_path_factory.mktemp("city"))
    with serving(city) as running:
        city.publish(running.port)
        yield city


class Enrolled(Unit):
    """An enrolled unit, with frames in its spool where a test wants some."""

    def __init__(self, city, folder):
        super().__init__(city, folder, next(NAMES))
        assert self.enroll() == 0
        self.send_key = load_signer(bytearray(self.key("send")), place="test").public_key
        self.state = self.folder / "state"
        self.statement = self.state / "identity/destruction.cbor"

    def key(self, name):
        return (self.credentials / f"{name}.key").read_bytes()

    def fill(self, frames=3, *, close=True):
        """Do as the watcher does: store frames and log them."""
        signer = load_signer(bytearray(self.key("watch")), place="test")
        origin = log_origin(self.name, "watch")
        log = AuditLog(self.state / "audit/watch", signer, origin, SystemClock())
        log.append(Boot(at_ms=1, boot=BOOT, version="1", policy_hash=bytes(32)))
        limits = SpoolSettings()
        spool = SpoolWriter(self.state / "spool", limits, dict.fromkeys(Lane, 1 << 20), BOOT)
        spool.recover(lambda _: None)
        for number in range(frames):
            frame = make_frame(self.name, first=2 * number, last=2 * number + 1)
            segment = spool.put(Lane.READS, frame, datetime.now(UTC))
            log.append(
                Sealed(
                    at_ms=2,
                    lane=Lane.READS,
                    boot=BOOT,
                    first=2 * number,
                    last=2 * number + 1,
                    frame=frame_hash(frame),
                    length=len(frame),
                    segment=segment,
                )
            )
        if close:
            spool.close()
        log.close()

    def retire(self, *words, yes=True):
        options = ["--yes"] if yes else []
        given = [*map(str, words), *options]
        return main(["retire", "--config", str(self.config), "--reason", "taken down", *given])

    def left(self):
        return {name for name in GONE if (self.credentials / name).exists()}

    def segments(self):
        return SpoolReader(self.state / "spool").segments()

    def entries(self, *kinds):
        path = self.state / "audit/send" / ENTRIES
        contents = RecordFile(path).follow() if path.exists() else ()
        return [entry for entry in map(decode_entry, contents) if isinstance(entry, kinds)]


@pytest.fixture
def unit(city, tmp_path):
    return Enrolled(city, tmp_path)


def state_of(city, unit):
    listed = run_endpoint("unit", "list", "--config", city.config).stdout
    return next(line.split()[1] for line in listed.splitlines() if line.startswith(unit.name))


def test_a_retired_unit_has_no_key_and_no_frame_and_the_city_knows(city, unit, capsys):
    unit.fill()
    keys = [unit.key(name) for name in ("watch", "send", "tls")]
    assert unit.retire("--discard") == 0
    assert "retired; keys and spool are destroyed" in capsys.readouterr().out
    assert unit.left() == set()
    assert unit.segments() == ()
    assert state_of(city, unit) == "retired"
    left = [path.read_bytes() for path in unit.folder.rglob("*") if path.is_file()]
    assert not any(key in content for key in keys for content in left)


def test_its_certificate_of_destruction_is_the_last_entry_of_its_log(city, unit, tmp_path, capsys):
    unit.fill(frames=3)
    assert unit.retire("--discard") == 0
    content = unit.statement.read_bytes()
    found = open_statement(content, unit=unit.name, key=unit.send_key)
    assert (found.retired.reads, found.retired.reason) == (6, "taken down")
    assert unit.entries(Retired) == [found.retired]
    assert {entry.reason for entry in unit.entries(Deleted)} == {"retired"}
    out = tmp_path / "copy.cbor"
    done = run_endpoint("unit", "destruction", unit.name, out, "--config", city.config)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == content
    assert found.retired.tls_key.hex() in done.stdout


def test_the_audit_of_a_retired_unit_balances(city, unit, tmp_path, capsys):
    unit.fill(frames=3)
    assert unit.retire("--discard") == 0
    done = run_endpoint("unit", "keys", unit.name, tmp_path, "--config", city.config)
    assert done.returncode == 0, done.stderr
    keys = [
        word
        for name in ("watch", "send")
        for word in (f"--{name}-key", str(tmp_path / f"{unit.name}.{name}.der"))
    ]
    policy = ["--policy", str(city.policy), "--root", str(city.root)]
    capsys.readouterr()
    assert main(["audit", "verify", str(unit.state), *keys, *policy, "--json"]) == 0
    lanes = json.loads(capsys.readouterr().out)["balance"]["reads"]
    assert (lanes["recorded"], lanes["dropped"]) == (6, 6)


def test_reads_that_the_city_has_not_are_not_destroyed_by_the_way(unit, city, capsys):
    unit.fill(frames=2)
    capsys.readouterr()
    assert unit.retire() == 78
    assert refused(capsys, "4 reads", "--drain", "--discard")
    assert unit.left() == set(GONE)
    assert len(unit.segments()) == 1
    assert state_of(city, unit) == "active"


def test_a_unit_that_never_watched_retires(unit, city, capsys):
    assert unit.retire() == 0
    assert state_of(city, unit) == "retired"


def test_segments_that_a_killed_watcher_left_open_are_destroyed_too(unit, capsys):
    unit.fill(close=False)
    assert unit.retire("--discard") == 0
    assert unit.segments() == ()


@pytest.mark.parametrize("words", [("--dry-run",), ()])
def test_without_yes_nothing_is_destroyed(unit, city, capsys, words):
    unit.fill()
    assert unit.retire(*words, yes=False) == (0 if words else 78)
    assert unit.left() == set(GONE)
    assert len(unit.segments()) == 1
    assert unit.entries(Retired) == []
    assert state_of(city, unit) == "active"


def test_retiring_twice_says_that_it_is_done(unit, capsys):
    unit.retire()
    capsys.readouterr()
    assert unit.retire() == 78
    assert refused(capsys, "is retired", "destruction.cbor")


def test_a_technician_may_carry_the_certificate(unit, city, tmp_path, capsys):
    carried = tmp_path / "stick.cbor"
    assert unit.retire("--offline", carried) == 0
    assert unit.left() == set()
    assert state_of(city, unit) == "active"
    done = run_endpoint("unit", "retire", unit.name, carried, "--config", city.config)
    assert done.returncode == 0, done.stderr
    assert state_of(city, unit) == "retired"


def test_a_city_that_is_not_reached_leaves_the_keys_for_another_try(tmp_path, capsys):
    other = found(tmp_path / "other")
    with serving(other) as running:
        other.publish(running.port)
        unit = Enrolled(other, tmp_path)
    capsys.readouterr()
    assert unit.retire() == 75
    assert refused(capsys, "not reached", "in the spool is destroyed", "keys are still here")
    assert unit.left() == set(GONE)
    statement = unit.statement.read_bytes()
    assert unit.retire("--offline", tmp_path / "stick.cbor") == 0
    assert (tmp_path / "stick.cbor").read_bytes() == statement
    assert len(unit.entries(Retired)) == 1


def test_a_unit_that_lost_its_newest_policy_hands_its_certificate_to_nobody(unit, tmp_path, capsys):
    signer = load_signer(bytearray(unit.key("send")), place="test")
    log = AuditLog(unit.state / "audit/send", signer, log_origin(unit.name, "send"), SystemClock())
    log.append(
        PolicySeen(
            at_ms=1,
            policy_hash=bytes(32),
            accepted=True,
            detail="x",
            version=99,
            root_version=1,
            flashed_root=bytes(32),
        )
    )
    log.close()
    capsys.readouterr()
    assert unit.retire() == 78
    assert refused(capsys, "newest policy is gone", "--offline FILE")
    assert unit.left() == set(GONE)
    assert not unit.statement.exists()
    assert unit.retire("--offline", tmp_path / "stick.cbor") == 0
    assert unit.left() == set()


def test_from_the_certificate_on_nothing_starts_and_the_next_call_destroys_what_came(
    tmp_path, capsys
):
    other = found(tmp_path / "other")
    with serving(other) as running:
        other.publish(running.port)
        unit = Enrolled(other, tmp_path)
    unit.fill(frames=1)
    assert unit.retire("--discard") == 75
    assert unit.segments() == ()
    for words in (["watch"], ["send"], ["send", "--drain"], ["run"]):
        capsys.readouterr()
        assert main([*words, "--config", str(unit.config)]) == 78
        assert refused(capsys, "is retired", "homeplate retire")
    unit.fill(frames=3)
    assert len(unit.segments()) == 1
    assert unit.retire("--offline", tmp_path / "stick.cbor") == 0
    assert unit.segments() == ()
    assert unit.left() == set()
    carried = (tmp_path / "stick.cbor").read_bytes()
    last = open_statement(carried, unit=unit.name, key=unit.send_key).retired
    assert [entry.reads for entry in unit.entries(Retired)] == [2, 6]
    assert last == unit.entries(Retired)[-1]
    assert len(unit.entries(Deleted)) == 2


def test_a_start_that_looked_before_the_certificate_was_there_looks_again_with_its_log(unit):
    unit.fill(frames=1)
    loaded = {name: load_unit(unit.config, name) for name in ("watch", "send")}
    unit.statement.parent.mkdir(exist_ok=True)
    unit.statement.write_bytes(b"")
    clock = SystemClock()
    with pytest.raises(ConfigError, match="is retired"):
        build_keeping(loaded["watch"], bytes(32), clock)
    with pytest.raises(ConfigError, match="is retired"):
        build_sending(loaded["send"], clock, build_uplink(loaded["send"], clock))


def test_what_came_after_the_certificate_was_handed_in_is_destroyed_before_the_keys(unit, capsys):
    unit.fill(frames=1)
    keys = {name: (unit.credentials / name).read_bytes() for name in GONE}
    assert unit.retire("--discard") == 0
    for name, content in keys.items():  # as if the power had gone before the keys did
        (unit.credentials / name).write_bytes(content)
    unit.fill(frames=1)
    handed_in = unit.statement.read_bytes()
    assert unit.retire() == 0
    assert unit.segments() == ()
    assert unit.left() == set()
    assert unit.statement.read_bytes() == handed_in
    assert len(unit.entries(Deleted)) == 2


def test_a_watcher_that_runs_stops_it(unit, capsys):
    unit.fill()
    signer = load_signer(bytearray(unit.key("watch")), place="test")
    origin = log_origin(unit.name, "watch")
    running = AuditLog(unit.state / "audit/watch", signer, origin, SystemClock())
    capsys.readouterr()
    assert unit.retire("--discard") == 69
    assert refused(capsys, "another process")
    running.close()
    assert unit.left() == set(GONE)


def test_a_unit_that_was_never_enrolled_is_told(city, tmp_path, capsys):
    unit = Enrolled(city, tmp_path)
    for name in GONE:
        (unit.credentials / name).unlink()
    capsys.readouterr()
    assert unit.retire() == 78
    assert refused(capsys, "never enrolled")


@pytest.mark.custody
def test_a_power_cut_at_any_step_leaves_a_unit_that_retires(city, tmp_path, capsys):
    def make():
        unit = Enrolled(city, tmp_path)
        unit.fill(frames=1)
        return unit

    def words(unit):
        return ("retire", "--config", unit.config, "--reason", "x", "--discard", "--yes")

    count = 0
    for unit in cuts(make, words):
        code = unit.retire("--discard")
        told = capsys.readouterr().err
        assert code == 0 or (code == 78 and "is retired" in told), told
        assert unit.left() == set()
        assert unit.segments() == ()
        assert state_of(city, unit) == "retired"
        count += 1
    assert count > 20
    with capsys.disabled():
        print(f"\nretirement cut off at each of {count} steps: all units retired afterwards")  # noqa: T201 -- the count
