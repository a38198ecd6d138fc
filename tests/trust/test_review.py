"""An auditor's look at receipts: one signature holds the chain, whatever is put into it shows."""

import pytest

from agent.base.lanes import Lane
from agent.trust import review
from agent.trust.balance import Claim
from agent.trust.entries import Uploaded
from agent.trust.keys import generate_signer
from agent.trust.receipts import NO_RECEIPT, Receipt, peek_receipt, receipt_hash, sign_receipt
from agent.trust.review import LogReview, review_receipts

CITY, OTHER = generate_signer(), generate_signer()
LOG = LogReview("homeplate/u/watch", size=1, roots={1: bytes(32)})


def claim(signed):
    entry = Uploaded(
        at_ms=0, lane=Lane.READS, segment="0000000000001-00000000-000000", reads=1, receipt=signed
    )
    return Claim(entry=entry, receipt=peek_receipt(signed))


def chain(*, length=5, forged=-1, skipped=-1):
    """Return claims in a chain of receipts; one forged by another key, one not received."""
    found, previous = [], NO_RECEIPT
    for number in range(length):
        receipt = Receipt(
            unit="u",
            frames=(number.to_bytes(32),),
            log_size=1,
            log_root=bytes(32),
            time_ms=number,
            previous=previous,
        )
        signed = sign_receipt(CITY, receipt)
        previous = receipt_hash(signed)
        if number != skipped:
            found.append(claim(sign_receipt(OTHER, receipt) if number == forged else signed))
    return found


def look(claims):
    return review_receipts(claims, keys=(CITY.public_key,), unit="u", watch=LOG)


@pytest.fixture
def verified(monkeypatch):
    opened = []

    def open_receipt(signed, keys):
        opened.append(signed)
        return real(signed, keys)

    real = review.open_receipt
    monkeypatch.setattr(review, "open_receipt", open_receipt)
    return opened


def test_the_newest_signature_holds_all_before_it(verified):
    claims = chain()
    assert look(claims) == (5, ())
    assert verified == [claims[-1].entry.receipt]


def test_where_one_was_never_received_the_one_before_is_verified_itself(verified):
    claims = chain(skipped=2)
    assert look(claims) == (4, ())
    assert verified == [claims[-1].entry.receipt, claims[1].entry.receipt]


@pytest.mark.parametrize("forged", range(5))
def test_a_receipt_put_into_the_chain_is_found(forged):
    good, (finding,) = look(chain(forged=forged))
    assert good == 4
    assert finding.reason == "receipt-signature"
    assert finding.detail.startswith(f"receipt {forged + 1}: ")


def test_a_receipt_that_names_a_forged_one_does_not_make_it_true():
    true = chain(length=1)[0]
    forged = sign_receipt(OTHER, peek_receipt(true.entry.receipt))
    liar = Receipt(
        unit="u",
        frames=(bytes(32),),
        log_size=1,
        log_root=bytes(32),
        time_ms=0,
        previous=receipt_hash(forged),
    )
    good, findings = look([claim(forged), claim(sign_receipt(OTHER, liar))])
    assert good == 0
    assert [finding.reason for finding in findings] == ["receipt-signature"] * 2


def test_a_receipt_held_by_the_chain_is_still_held_against_unit_and_log():
    claims = chain()
    good, findings = review_receipts(claims, keys=(CITY.public_key,), unit="v", watch=LOG)
    assert good == 0
    assert {finding.reason for finding in findings} == {"receipt-unit"}
    other = LogReview("homeplate/u/watch", size=1, roots={1: bytes(31) + b"1"})
    _, findings = review_receipts(claims, keys=(CITY.public_key,), unit="u", watch=other)
    assert {finding.reason for finding in findings} == {"receipt-head"}
