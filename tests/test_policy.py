"""The keeper of the policy: every attack is refused and logged, and the last good one stays."""

import os
import re
import shutil
from datetime import timedelta
from hashlib import sha256

import pytest

from agent.audit import AuditLog, RecordFile, read_policy_history
from agent.base.clock import to_ms
from agent.base.errors import ConfigError, PolicyError
from agent.base.files import read_handed
from agent.policy import DETAIL_LIMIT, PolicyKeeper, PolicyPlaces
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, Bundle, encode_bundle
from agent.trust.entries import PolicySeen, decode_entry
from agent.trust.keys import generate_signer
from tests.fakes import FakeClock
from tests.policies import (
    ENDS,
    MODELS,
    NOW,
    UNIT,
    Draft,
    draft,
    first_root,
    make_root,
    policy_fields,
    sign,
)
from tests.trust.attacks import ATTACKS, THIEVES, abandoned, honest, policy_3, rotated


class Unit:
    """A unit's files, a keeper that looks at them, and the process's real log."""

    def __init__(self, folder, flashed=None, *, models=None):
        self.places = PolicyPlaces(
            root=folder / "root.json",
            flashed=folder / "policy.bundle",
            arriving=folder / "run/policy.bundle",
            memory=folder / "state/policy/watch/current.bundle",
        )
        self.models, self.folder, self.key = models, folder / "state/audit/watch", generate_signer()
        self.audit = None
        self.places.arriving.parent.mkdir()
        self.places.root.write_bytes(first_root())
        self.flash(flashed or policy_3())
        self.start()
        self.first = self.look()

    def start(self, unit=UNIT):
        if self.audit is not None:
            self.audit.close()
        self.keeper = PolicyKeeper(
            self.places,
            unit=unit,
            models_sha256=self.models,
            history=read_policy_history(self.folder),
        )
        origin = f"homeplate/{UNIT}/watch"
        self.audit = AuditLog(self.folder, self.key, origin, FakeClock(NOW))

    def look(self, now=NOW):
        seen = self.keeper.look(now)
        if seen:
            self.audit.append_all(seen)
        return seen

    def logged(self):
        """Read back what is on the disk."""
        return tuple(map(decode_entry, RecordFile(self.folder / "entries").follow()))

    def forget(self):
        """Remove what is remembered, as a technician or a broken card might."""
        shutil.rmtree(self.places.memory.parent)
        self.places.arriving.unlink(missing_ok=True)

    def flash(self, content):
        write(self.places.flashed, content)

    def bring(self, content):
        write(self.places.arriving, content)

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
    content = attack.content()
    unit.bring(content)
    if attack.unit != UNIT:
        unit.start(attack.unit)
    unit.look(attack.now)
    assert unit.look(attack.now) == ()
    unit.audit.close()
    taken, refused = unit.logged()
    assert (taken.accepted, taken.version) == (True, before.version)
    assert refused == PolicySeen(
        at_ms=to_ms(attack.now),
        policy_hash=sha256(content if len(content) <= BUNDLE_LIMIT_BYTES else b"").digest(),
        accepted=False,
        detail=refused.detail,
        version=0,
        root_version=0,
        flashed_root=sha256(first_root()).digest(),
    )
    assert refused.detail.startswith(f"{attack.reason}: ")
    assert len(refused.detail) <= DETAIL_LIMIT
    assert unit.keeper.decision == before
    assert unit.places.memory.read_bytes() == remembered
    assert (unit.keeper.refusals, unit.keeper.last_refusal) == (1, refused.detail)


def test_the_policy_of_the_first_start_is_in_the_log(tmp_path):
    unit = Unit(tmp_path)
    assert [(seen.accepted, seen.version) for seen in unit.first] == [(True, 3)]
    unit.start()
    assert unit.look() == ()
    assert unit.logged() == unit.first


def test_a_newer_policy_is_taken_over_logged_and_remembered(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    (seen,) = unit.look()
    assert seen == PolicySeen(
        at_ms=seen.at_ms,
        policy_hash=unit.keeper.decision.policy_hash,
        accepted=True,
        detail="version 4, root 1, signed by police, clerk",
        version=4,
        root_version=1,
        flashed_root=sha256(first_root()).digest(),
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


@pytest.mark.parametrize("lose", ["cut", "file", "folder", "older"])
def test_a_policy_that_is_lost_is_told_and_nothing_less_is_taken_for_it(tmp_path, lose, caplog):
    unit = Unit(tmp_path)
    unit.bring(honest())
    unit.look()
    memory, content = unit.places.memory, unit.places.memory.read_bytes()
    unit.forget()
    if lose != "folder":
        memory.parent.mkdir()
        write(memory, {"cut": content[:-1], "older": policy_3()}.get(lose, b"x"))
    if lose == "file":
        memory.unlink()
    unit.start()
    (lost,) = unit.look()
    assert lost.detail.startswith("memory: ")
    assert "nothing is kept or sent until version 4 is here" in lost.detail
    assert (unit.version, unit.keeper.is_behind, unit.keeper.refusals) == (3, True, 1)
    assert unit.keeper.last_refusal == lost.detail
    assert "remembered policy unusable" in caplog.text
    for less in (draft(3, mode="hits-only").signed(), abandoned()):
        unit.bring(less)
        (refused,) = unit.look()
        assert not refused.accepted
        assert refused.detail.startswith(("rollback: ", "fork: "))
    unit.start()
    assert (unit.look(), unit.keeper.is_behind, unit.keeper.refusals) == ((), True, 2)
    unit.bring(honest())
    assert [(seen.accepted, seen.version) for seen in unit.look()] == [(True, 4)]
    assert not unit.keeper.is_behind
    unit.start()
    assert (unit.version, unit.keeper.is_behind, unit.look()) == (4, False, ())


def test_an_office_that_was_replaced_signs_nothing_for_a_unit_that_lost_its_memory(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(rotated())
    unit.look()
    unit.forget()
    unit.start()
    unit.look()
    unit.bring(draft(9).signed("police", "clerk"))
    (refused,) = unit.look()
    assert refused.detail.startswith("rollback: policy.bundle: root version 1, ")
    assert unit.keeper.is_behind


def test_a_second_loss_is_told_like_the_first(tmp_path):
    unit = Unit(tmp_path)
    for _ in range(2):
        unit.forget()
        unit.start()
        assert [seen.accepted for seen in unit.look()] == [False, True]
    assert (unit.version, unit.keeper.is_behind) == (3, False)


def test_a_newer_flashed_policy_ends_what_was_lost(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    unit.look()
    unit.forget()
    unit.flash(draft(5).signed())
    unit.start()
    assert [seen.accepted for seen in unit.look()] == [False, True]
    assert (unit.version, unit.keeper.is_behind) == (5, False)


def test_what_was_taken_over_and_not_logged_before_a_kill_is_logged_at_the_next_start(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    assert len(unit.keeper.look(NOW)) == 1  # and then the power fails
    unit.start()
    assert [(seen.accepted, seen.version) for seen in unit.look()] == [(True, 4)]
    unit.start()
    assert unit.look() == ()
    assert [entry.version for entry in unit.logged()] == [3, 4]


def test_what_was_refused_and_not_logged_before_a_kill_is_logged_at_the_next_start(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(draft(2).signed())
    assert len(unit.keeper.look(NOW)) == 1  # and then the power fails
    unit.start()
    assert [seen.accepted for seen in unit.look()] == [False]


def test_a_history_behind_a_damaged_place_in_the_log_counts(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(honest())
    unit.look()
    path = unit.folder / "entries"
    content = bytearray(path.read_bytes())
    content[20] ^= 1  # in the first entry
    path.write_bytes(content)
    assert read_policy_history(unit.folder).version == 4


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


def test_what_is_refused_again_after_something_else_is_logged_again(tmp_path):
    unit = Unit(tmp_path)
    first, second = draft(1).signed(), draft(2).signed()
    for content in (first, first, second, second, first, policy_3(), first):
        unit.bring(content)
        unit.look()
    details = [entry.detail for entry in unit.logged() if not entry.accepted]
    assert [re.search(r"version (\d)", detail).group(1) for detail in details] == ["1", "2", "1"]
    unit.bring(honest())
    unit.look()
    unit.bring(first)
    assert [seen.accepted for seen in unit.look()] == [False]


def test_what_comes_again_after_a_start_is_logged_again_only_if_something_else_came(tmp_path):
    unit = Unit(tmp_path)
    first, second = draft(1).signed(), draft(2).signed()
    logged = []
    for content in (first, "start", first, second, "start", first, "start", first, second, first):
        if content == "start":
            unit.places.arriving.unlink()  # what is in force lies there
            unit.start()
            assert unit.look() == ()
        else:
            unit.bring(content)
            logged += [content] * len(unit.look())
    assert logged == [first, second, first, second, first]


def test_what_is_refused_in_two_places_again_and_again_is_logged_once_each(tmp_path):
    unit, early = Unit(tmp_path), NOW - timedelta(days=3000)
    unit.flash(honest())
    unit.bring(abandoned())
    assert len(unit.look(early)) == 2
    unit.start()
    for _ in range(3):
        assert unit.look(early) == ()


def thieves():
    """Return a root of thieves, also number 1, and a policy of theirs above the city's."""
    roots = sign(Draft(policy_fields(), roots=(make_root(held_by=THIEVES),)).bundle(), *THIEVES)
    return roots.roots[0], sign(Draft(policy_fields(9), roots=roots.roots).bundle(), *THIEVES)


@pytest.mark.parametrize("brings", ["flashed", "arriving", "memory"])
def test_another_root_on_the_card_takes_nothing_over_until_the_old_one_is_back(tmp_path, brings):
    unit = Unit(tmp_path)
    flashed, taken = unit.places.flashed.read_bytes(), unit.places.memory.read_bytes()
    root, bundle = thieves()
    unit.places.root.write_bytes(root)
    unit.flash(bundle)
    write(getattr(unit.places, brings), bundle)
    for logged in (1, 0):
        unit.start()
        seen = unit.look()
        assert len(seen) == logged
        assert all(one.detail.startswith("root: nothing is kept or sent: ") for one in seen)
        assert all(one.flashed_root == sha256(root).digest() for one in seen)
        assert unit.keeper.is_behind
        assert unit.keeper.last_refusal.startswith("root: ")
    unit.bring(honest())
    (refused,) = unit.look()
    assert refused.detail.startswith("root: ")
    assert (unit.keeper.is_behind, refused.accepted) == (True, False)
    unit.places.root.write_bytes(first_root())
    write(unit.places.flashed, flashed)
    write(unit.places.memory, taken)
    unit.start()
    assert [seen.version for seen in unit.look()] == [4]
    assert (unit.version, unit.keeper.is_behind) == (4, False)


def test_a_root_that_came_with_a_policy_leaves_the_flashed_one_what_it_was(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(rotated())
    unit.look()
    assert [entry.root_version for entry in unit.logged()] == [1, 2]
    assert {entry.flashed_root for entry in unit.logged()} == {sha256(first_root()).digest()}
    unit.start()
    assert not unit.keeper.is_behind


def test_an_empty_file_is_a_refusal_like_any_other(tmp_path):
    unit = Unit(tmp_path)
    unit.bring(b"")
    assert [seen.detail.partition(":")[0] for seen in unit.look()] == ["format"]
    assert (unit.look(), unit.keeper.refusals) == ((), 1)


def test_a_flood_of_bad_policies_fills_no_memory(tmp_path):
    unit = Unit(tmp_path)
    for number in range(600):
        unit.bring(b"%d" % number)
        assert len(unit.look()) == 1
    assert len(unit.keeper._told) <= 3
