"""Putting a policy together and signing it, one office at a time."""

from datetime import timedelta

import pytest

from agent.base.errors import CredentialError, PolicyError
from agent.trust.publishing import add_signature, compose_root, office_names, review_standing
from tests.policies import (
    ENDS,
    NOW,
    OFFICES,
    Draft,
    draft,
    first_root,
    make_root,
    policy_fields,
    sign,
    signer,
    take,
)

NEW_POLICE = ("police:new", "city-manager", "clerk")


def rotation():
    """Policy 4 under a second root, signed by nobody yet."""
    roots = (first_root(), make_root(2, held_by=NEW_POLICE))
    return Draft(policy_fields(4), roots=roots).bundle()


def test_the_standing_says_who_has_signed_and_how_many_are_missing():
    bundle = draft().bundle()
    assert review_standing(bundle).present.missing == 2
    bundle = sign(bundle, "clerk")
    standing = review_standing(bundle)
    assert standing.present.signed == ("clerk",)
    assert standing.present.unsigned == ("police", "city-manager")
    assert (standing.present.missing, standing.complete) == (1, False)
    assert review_standing(sign(bundle, "police")).complete


def test_all_three_may_sign():
    bundle = sign(draft().bundle(), *OFFICES)
    assert review_standing(bundle).present.signed == OFFICES
    assert take(bundle).signed_by == OFFICES


def test_signing_twice_counts_once():
    bundle = sign(draft().bundle(), "clerk", "clerk")
    assert review_standing(bundle).present.missing == 1


def test_a_key_of_no_office_signs_nothing():
    stranger = signer("stranger")
    with pytest.raises(CredentialError, match="belongs to no office"):
        add_signature(draft().bundle(), key=stranger.public_key, sign=stranger.sign)


@pytest.mark.parametrize(
    "make", [lambda _: b"garbage", signer("police").sign, lambda _: signer("clerk").sign(b"else")]
)
def test_what_is_no_signature_by_the_office_is_not_kept(make):
    with pytest.raises(CredentialError, match="nothing was signed"):
        add_signature(draft().bundle(), key=signer("clerk").public_key, sign=make)


def test_a_new_key_needs_the_offices_before_and_those_from_now_on():
    bundle = sign(rotation(), "police:new")
    standing = review_standing(bundle)
    assert standing.former is not None
    assert (standing.former.missing, standing.present.missing) == (2, 1)
    bundle = sign(bundle, "clerk")
    standing = review_standing(bundle)
    assert (standing.former.missing, standing.present.missing) == (1, 0)
    assert not standing.complete
    bundle = sign(bundle, "police")
    assert review_standing(bundle).complete
    assert take(bundle).root_version == 2


def test_the_office_whose_key_is_replaced_signs_the_root_and_nothing_else():
    bundle = sign(rotation(), "police")
    assert review_standing(bundle).present.signed == ()
    assert review_standing(bundle).former.signed == ("police",)


def test_a_complete_root_is_signed_no_more():
    before = draft().signed()
    after = sign(draft(2).but(roots=before.roots).bundle(), "city-manager", "clerk")
    assert after.roots == before.roots


def test_the_offices_of_a_bundle_are_those_of_its_newest_root():
    assert office_names(rotation())["police"] == signer("police:new").public_key


@pytest.mark.parametrize(
    ("held_by", "threshold"),
    [
        ({"police": "a", "clerk": "b"}, 2),
        ({"police": "a", "clerk": "b", "city-manager": "c"}, 1),
        ({"police": "a", "clerk": "b", "city-manager": "c"}, 4),
        ({"police": "a", "clerk": "a", "city-manager": "c"}, 2),
        ({"Police Dept": "a", "clerk": "b", "city-manager": "c"}, 2),
    ],
    ids=["two_offices", "one_alone", "four_of_three", "one_key_twice", "name_with_a_space"],
)
def test_a_root_that_units_would_refuse_is_not_made(held_by, threshold):
    keys = {office: signer(name).public_key for office, name in held_by.items()}
    with pytest.raises(PolicyError):
        compose_root(keys, threshold=threshold, version=1, expires_at=ENDS)


def test_times_are_cut_to_whole_seconds():
    late = ENDS + timedelta(microseconds=999_999)
    found = take(draft().but(expires_at=late).signed(), now=NOW)
    assert found.expires_at == ENDS
