"""What the sender has to do follows the spool, not the length of the logs."""

from hypothesis import given
from hypothesis import strategies as st

from agent.base.lanes import Lane
from agent.trust.backlog import Backlog
from agent.trust.entries import Deleted, DeleteIntent, Gap, Sealed, Uploaded
from agent.trust.keys import generate_signer
from agent.trust.receipts import Receipt, sign_receipt

SIGNER = generate_signer()
LANE = Lane.READS


def segment(number):
    return f"{number:013d}-626f6f74-{number:06d}"


def frame(number):
    return number.to_bytes(32)


def sealed(number, in_segment):
    return Sealed(
        at_ms=0,
        lane=LANE,
        boot=bytes(16),
        first=3 * number,
        last=3 * number + 2,
        frame=frame(number),
        length=9,
        segment=segment(in_segment),
    )


def uploaded(numbers, in_segment, *, log_size=1):
    receipt = Receipt(
        unit="u",
        frames=tuple(frame(number) for number in numbers),
        log_size=log_size,
        log_root=bytes(32),
        time_ms=0,
    )
    return Uploaded(
        at_ms=0,
        lane=LANE,
        segment=segment(in_segment),
        reads=3 * len(numbers),
        receipt=sign_receipt(SIGNER, receipt),
    )


def intent(number):
    return DeleteIntent(
        at_ms=0, lane=LANE, segment=segment(number), reason="receipt", damaged_bytes=0
    )


def deleted(number):
    return Deleted(at_ms=0, lane=LANE, segment=segment(number), reason="receipt")


def test_only_logged_frames_are_uploaded_and_none_twice():
    backlog, key = Backlog(), (LANE, segment(1))
    for number in (0, 1, 2):
        backlog.note_watched(number, sealed(number, 1))
    frames = tuple(frame(number) for number in range(4))
    assert backlog.to_upload(key, frames) == frames[:3]
    assert backlog.reads_in(key, frames) == 9
    assert [place.index for place in backlog.standings(key, frames[1:3])] == [1, 2]
    backlog.note_sent(uploaded([0, 1], 1, log_size=7))
    assert backlog.to_upload(key, frames) == (frame(2),)
    assert backlog.known_size == 7
    assert not backlog.is_settled(key, frames[:3])
    backlog.note_sent(uploaded([2], 1))
    assert backlog.is_settled(key, frames[:3])
    assert not backlog.is_settled(key, frames)


def test_a_frame_logged_in_one_segment_is_not_uploaded_from_another():
    backlog = Backlog()
    backlog.note_watched(0, sealed(0, 1))
    assert backlog.to_upload((LANE, segment(2)), (frame(0),)) == ()
    assert backlog.to_upload((Lane.HITS, segment(1)), (frame(0),)) == ()


def test_deletions_that_were_announced_are_unfinished_until_reported():
    backlog = Backlog()
    backlog.note_watched(0, sealed(0, 1))
    backlog.note_sent(Gap(at_ms=0, cut_bytes=1, kept=0, unsigned=0))
    backlog.note_sent(intent(1))
    assert backlog.unfinished() == (intent(1),)
    backlog.note_sent(deleted(1))
    assert backlog.unfinished() == ()
    assert backlog.to_upload((LANE, segment(1)), (frame(0),)) == ()


@given(st.lists(st.booleans(), max_size=12))
def test_after_a_restart_it_is_as_before_and_holds_nothing_of_what_is_gone(gone):
    live, watched, sent = Backlog(), [], []
    for number, is_gone in enumerate(gone):
        watched.append(sealed(number, number))
        live.note_watched(len(watched) - 1, watched[-1])
        steps = [uploaded([number], number)]
        steps += [intent(number), deleted(number)] if is_gone else []
        for step in steps:
            live.note_sent(step)
            sent.append(step)
    again = Backlog()
    for entry in sent:
        again.note_sent(entry)
    for index, entry in enumerate(watched):
        again.note_watched(index, entry)
    for backlog in (live, again):
        assert len(backlog._logged) == len(backlog._uploaded) == gone.count(False)
        assert len(backlog._gone) <= 1
        for number, is_gone in enumerate(gone):
            assert backlog.is_settled((LANE, segment(number)), (frame(number),)) is not is_gone
