"""What a unit takes from a policy bundle, and what it refuses: see `attacks.py` for the table.

python-tuf's own client is asked the same questions. It may be less strict than we are, where the
table says so; it must never be stricter.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.exceptions import RepositoryError
from tuf.api.serialization import DeserializationError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from agent.base.errors import CredentialError, PolicyError
from agent.trust.bundle import require_current, trust_root
from agent.trust.bundle_files import Bundle, encode_bundle, parse_bundle
from tests.policies import (
    ENDS,
    MODELS,
    NOW,
    Draft,
    draft,
    first_root,
    flashed,
    make_root,
    policy_fields,
    sign,
    signer,
    take,
    text64,
)
from tests.trust.attacks import (
    ATTACKS,
    SILENT,
    TAKES,
    Attack,
    but,
    honest,
    hotlist_keys,
    policy_3,
    rotated,
)

TABLE = pytest.mark.parametrize(
    "attack", ATTACKS.values(), ids=[name.replace(" ", "_") for name in ATTACKS]
)


def ask_tuf(bundle: Bundle, *, held: Bundle, now: datetime) -> bool:
    """Tell whether python-tuf's client would go on to this bundle from the one that it holds.

    The steps are those of its `Updater`, which loads what it holds before what comes.
    """
    try:
        trusted = TrustedMetadataSet(first_root(), EnvelopeType.METADATA)
        trusted.reference_time = now
        for content in bundle.roots[1:]:
            trusted.update_root(content)
        with suppress(RepositoryError):
            trusted.update_timestamp(held.timestamp)
        trusted.update_timestamp(bundle.timestamp)
        with suppress(RepositoryError):
            trusted.update_snapshot(held.snapshot, trusted=True)
        trusted.update_snapshot(bundle.snapshot)
        targets = trusted.update_targets(bundle.targets)
        for name, content in bundle.files.named().items():
            targets.targets[name].verify_length_and_hashes(content)
    except (RepositoryError, DeserializationError, ValueError):
        return False
    return True


@TABLE
def test_an_attack_is_refused_with_its_reason(attack: Attack):
    trusted = take(attack.held()).trusted
    with pytest.raises(PolicyError) as caught:
        take(attack.content(), trusted=trusted, now=attack.now, unit=attack.unit)
    assert caught.value.reason == attack.reason, caught.value
    assert str(caught.value).startswith("policy.bundle")


@TABLE
def test_python_tuf_is_never_stricter_than_the_table_says(attack: Attack):
    made = attack.make()
    if attack.tuf == SILENT or isinstance(made, bytes):
        pytest.skip("python-tuf does not look there")
    assert ask_tuf(made, held=attack.held(), now=attack.now) is (attack.tuf == TAKES)


def test_what_is_as_it_should_be_is_taken_by_both():
    for bundle in (honest(), rotated()):
        found = take(bundle, trusted=take(policy_3()).trusted)
        assert (found.version, found.policy.version) == (4, 4)
        assert ask_tuf(bundle, held=policy_3(), now=NOW)


def test_the_table_is_long_enough_to_mean_something():
    assert len(ATTACKS) >= 25


def test_a_decision_says_what_the_offices_signed():
    keys = hotlist_keys(text64(signer("list").public_spki))
    bundle = draft(7).but(hotlist_keys=keys).signed("city-manager", "clerk")
    found = take(bundle)
    assert found.signed_by == ("city-manager", "clerk")
    assert (found.version, found.root_version, found.expires_at) == (7, 1, ENDS)
    assert found.policy_hash == sha256(bundle.files.policy).digest()
    assert found.models_sha256 == sha256(MODELS).digest()
    assert found.hotlist_keys == (("PD", signer("list").public_key),)
    assert found.content_sha256 == sha256(encode_bundle(bundle)).digest()


def test_the_same_bundle_may_come_again_and_with_one_more_signature():
    first = take(draft(3).signed())
    again = take(draft(3).signed("police", "clerk", "city-manager"), trusted=first.trusted)
    assert again.trusted == first.trusted
    assert len(again.signed_by) == 3


def test_a_unit_that_was_away_follows_all_roots_at_once():
    roots = [first_root()]
    for number in range(2, 6):
        held_by = (f"police:{number}", "city-manager", "clerk")
        part = sign(
            Draft(policy_fields(), roots=(*roots, make_root(number, held_by=held_by))).bundle(),
            "city-manager",
            "clerk",
        )
        roots = list(part.roots)
    bundle = sign(Draft(policy_fields(9), roots=tuple(roots)).bundle(), "police:5", "clerk")
    found = take(bundle)
    assert (found.root_version, found.signed_by) == (5, ("police", "clerk"))


def test_after_a_rotation_the_old_key_of_an_office_is_worth_nothing():
    found = take(rotated(), trusted=take(policy_3()).trusted)
    with pytest.raises(CredentialError, match="belongs to no office"):
        sign(Draft(policy_fields(5), roots=rotated().roots).bundle(), "police")
    old = draft(5).signed("police", "clerk")
    with pytest.raises(PolicyError) as caught:
        take(but(old, roots=rotated().roots), trusted=found.trusted)
    assert caught.value.reason == "signature"


def test_what_was_in_force_is_opened_again_whatever_the_clock_says():
    found = take(policy_3(), now=None)
    with pytest.raises(PolicyError, match="expired at"):
        require_current(found, now=ENDS, place="here")
    with pytest.raises(PolicyError, match="valid from"):
        require_current(found, now=NOW - timedelta(days=2), place="here")
    assert require_current(found, now=NOW, place="here") is found


def test_a_policy_for_some_units_is_taken_by_these_and_by_the_city_itself():
    bundle = draft(4, units=["unit-0001", "unit-0002"]).signed()
    assert take(bundle, unit="unit-0002").version == 4
    assert take(bundle, unit=None).version == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "format"), (b"{}", "format"), (make_root(), "signature"), (b" " * 70_000, "size")],
    ids=["nothing", "empty", "unsigned", "large"],
)
def test_trust_begins_with_a_root_that_its_own_offices_signed(content, reason):
    with pytest.raises(PolicyError) as caught:
        trust_root(content, place="root.json")
    assert caught.value.reason == reason


@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused_by_our_own_error(content):
    with pytest.raises(PolicyError):
        take(content)


@given(st.data())
def test_any_flipped_bit_is_refused_or_changes_nothing(data):
    good = encode_bundle(honest())
    place = data.draw(st.integers(0, len(good) * 8 - 1))
    flipped = bytearray(good)
    flipped[place // 8] ^= 1 << place % 8
    try:
        found = take(bytes(flipped))
    except PolicyError:
        return
    assert replace(found, content_sha256=b"", trusted=flashed()) == replace(
        take(good), content_sha256=b"", trusted=flashed()
    )


def test_a_bundle_survives_the_way_through_a_file():
    assert parse_bundle(encode_bundle(honest()), place="here") == honest()
