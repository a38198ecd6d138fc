"""The keeper of the policy: every attack is refused and logged, and the last good one stays."""

import os
from datetime import timedelta
from hashlib import sha256

import pytest

from agent.base.errors import ConfigError, PolicyError
from agent.base.files import read_handed
from agent.policy import DETAIL_LIMIT, PolicyKeeper, PolicyPlaces
from agent.trust.bundle_files import Bundle, encode_bundle
from agent.trust.entries import PolicySeen, decode_entry, encode_entry
from tests.policies import ENDS, MODELS, NOW, UNIT, draft, first_root
from tests.trust.attacks import ATTACKS, honest, policy_3, rotated


class Unit:
    """A unit's files, and a keeper that looks at them."""

    def __init__(self, folder, flashed=None, *, models=None):
        self.places = PolicyPlaces(
            root=folder / "root.json",
            flashed=folder / "policy.bundle",
            arriving=folder / "run/policy.bundle",
            memory=folder / "state/policy/watch/current.bundle",
        )
        self.models = models
        self.places.arriving.parent.mkdir()
        self.places.root.write_bytes(first_root())
        self.flash(flashed or policy_3())
        self.start()

    def start(self):
        self.keeper = PolicyKeeper(self.places, unit=UNIT, models_sha256=self.models)

    def flash(self, content):
        write(self.places.flashed, content)

    def bring(self, content):
        write(self.places.arriving, content)

    def look(self, now=NOW):
        return self.keeper.look(now)

    @property
    def version(self):
        return self.keeper.decision.version


def write(path, content):
    content = encode_bundle(content) if isinstance(content, Bundle) else content
    temporary = path.with_name("new")
    temporary.write_bytes(content)
    temporary.replace(path)


@pytest.mark.parametrize(
    "attack", ATTACKS.values(), ids=[name.replace(" ", "_") for name in ATTACKS]
)
def test_an_attack_is_logged_once_with_its_reason_and_the_last_good_policy_stays(attack, tmp_path):
    unit = Unit(tmp_path, attack.held())
    before, remembered = unit.keeper.decision, unit.places.memory.read_bytes()
    unit.bring(attack.content())
    if attack.unit != UNIT:
        unit.keeper = PolicyKeeper(unit.places, unit=attack.unit, models_sha256=None)
    (seen,) = unit.look(attack.now)
    assert not seen.accepted
    assert seen.detail.startswith(f"{attack.reason}: ")
    assert len(seen.detail) <= DETAIL_LIMIT
    assert decode_entry(encode_entry(seen)) == seen
    assert unit.look(attack.now) == ()
    assert unit.keeper.decision == before
    assert unit.places.memory.read_bytes() == remembered
    assert (unit.keeper.refusals, unit.keeper.last_refusal) == (1, seen.detail)


def test_a_newer_policy_is_taken_over_logged_and_remembered(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    (seen,) = unit.look()
    assert seen == PolicySeen(
        at_ms=seen.at_ms,
        policy_hash=unit.keeper.decision.policy_hash,
        accepted=True,
        detail="version 4, root 1, signed by police, clerk",
    )
    assert unit.look() == ()
    unit.places.arriving.unlink()
    unit.start()
    assert unit.version == 4
    assert unit.look() == ()


def test_a_technician_brings_a_policy_in_the_place_of_the_flashed_one(tmp_path):
    unit = Unit(tmp_path)
    unit.flash(honest())
    assert [seen.accepted for seen in unit.look()] == [True]
    unit.start()
    assert (unit.version, unit.look()) == (4, ())


def test_the_policy_that_was_flashed_is_no_rollback_at_the_next_start(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    unit.look()
    unit.places.arriving.unlink()
    unit.start()
    assert (unit.version, unit.look(), unit.keeper.refusals) == (4, (), 0)


def test_an_older_policy_in_the_place_of_the_flashed_one_is_one(tmp_path):
    unit = Unit(tmp_path)
    unit.flash(draft(2).signed())
    unit.start()
    (seen,) = unit.look()
    assert seen.detail.startswith("rollback: ")
    assert unit.version == 3


def test_a_root_is_remembered_with_the_policy_that_brought_it(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(rotated())
    unit.look()
    unit.start()
    assert unit.keeper.decision.root_version == 2
    unit.bring(draft(5).signed())
    (seen,) = unit.look()
    assert seen.detail.startswith("rollback: ")


def test_one_more_signature_is_no_news(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(draft(3).signed("police", "clerk", "city-manager"))
    assert unit.look() == ()
    assert len(unit.keeper.decision.signed_by) == 3


def test_a_policy_is_refused_while_the_clock_is_wrong_and_taken_when_it_is_right(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    early = NOW - timedelta(days=3000)
    (seen,) = unit.look(early)
    assert seen.detail.startswith("not-yet-valid: ")
    assert unit.look(early) == ()
    assert [seen.accepted for seen in unit.look(NOW)] == [True]


def test_a_policy_that_expired_stays_in_force_for_sending_and_deleting(tmp_path):
    unit = Unit(tmp_path)
    unit.start()
    assert unit.look(ENDS + timedelta(days=9)) == ()
    assert unit.version == 3


def test_a_policy_with_other_models_than_the_unit_has_is_refused(tmp_path):
    mine = draft(3).signed()
    unit = Unit(tmp_path, mine, models=sha256(MODELS).digest())
    unit.bring(draft(4).but(models=b"newer models").signed())
    (seen,) = unit.look()
    assert seen.detail.startswith("models: ")
    assert unit.version == 3
    unit.bring(draft(5).signed())
    assert [seen.accepted for seen in unit.look()] == [True]


def test_a_damaged_memory_falls_back_on_what_was_flashed(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    unit.look()
    unit.places.memory.write_bytes(unit.places.memory.read_bytes()[:-1])
    unit.start()
    assert unit.version == 3
    lost, taken = unit.look()
    assert not lost.accepted
    assert lost.detail.startswith("memory: back to the flashed policy: ")
    assert taken.accepted
    assert unit.version == 4
    assert (unit.keeper.refusals, unit.look()) == (1, ())


def test_a_memory_that_is_gone_is_in_the_log_and_told_to_the_city(tmp_path, caplog):
    unit = Unit(tmp_path)
    assert unit.look() == ()
    unit.bring(honest())
    unit.look()
    unit.places.memory.unlink()
    unit.places.arriving.unlink()
    unit.start()
    (lost,) = unit.look()
    assert (lost.accepted, unit.version) == (False, 3)
    assert unit.keeper.last_refusal == lost.detail
    assert "current.bundle is gone" in lost.detail
    assert "remembered policy unusable" in caplog.text


def test_a_policy_that_cannot_be_remembered_is_not_taken_over(tmp_path):
    unit = Unit(tmp_path)
    blocked = unit.places.memory.with_name(".current.bundle.new")
    blocked.mkdir()
    unit.bring(honest())
    assert unit.look() == ()
    assert unit.version == 3
    blocked.rmdir()
    assert [seen.accepted for seen in unit.look()] == [True]


@pytest.mark.parametrize("name", ["root", "flashed"])
def test_without_root_or_policy_there_is_no_start(tmp_path, name):
    unit = Unit(tmp_path)
    unit.places.memory.unlink()
    getattr(unit.places, name).unlink()
    with pytest.raises(ConfigError, match=r"root\.json|policy\.bundle"):
        unit.start()


def test_a_flashed_policy_that_does_not_verify_is_no_start(tmp_path):
    with pytest.raises(PolicyError, match="signatures of more offices"):
        Unit(tmp_path, draft(1).signed("police"))


def hang_a_pipe(path):
    os.mkfifo(path)


def lay_a_link(path):
    path.symlink_to("/etc/hostname")


def make_a_folder(path):
    path.mkdir()


@pytest.mark.parametrize("spoil", [hang_a_pipe, lay_a_link, make_a_folder])
def test_what_is_no_file_in_the_exchange_folder_holds_nobody_up(tmp_path, spoil):
    unit = Unit(tmp_path)
    spoil(unit.places.arriving)
    (seen,) = unit.look()
    assert not seen.accepted
    assert unit.look() == ()
    with pytest.raises(ConfigError):
        read_handed(unit.places.arriving, limit_bytes=10)


def test_a_refused_policy_is_logged_once_over_restarts_and_told_to_the_city_after_each(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(draft(2).signed())
    assert len(unit.look()) == 1
    unit.start()
    assert unit.look() == ()
    assert unit.keeper.refusals == 1
    assert unit.keeper.last_refusal.startswith("rollback: ")
    unit.bring(draft(1).signed())
    assert len(unit.look()) == 1


def test_a_flood_of_bad_policies_fills_no_memory(tmp_path):
    unit = Unit(tmp_path)
    for number in range(600):
        unit.bring(b"%d" % number)
        assert len(unit.look()) == 1
    assert len(unit.keeper._told) <= 256
