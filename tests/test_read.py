"""Reading crops, voting over a passage, abstaining."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from agent.base.clock import to_ms
from agent.base.records import Direction, Frame, Passage
from agent.base.settings import DetectSettings, ModelSettings, ReadSettings
from agent.cli.models import open_models
from agent.read import CERTAIN_LOOKS, MERGE_MS, Ballots, read_crops
from agent.vision.decode import MAX_SLOTS, Slots, measure_surety, normalise, spell
from agent.vision.image import decode_picture
from agent.vision.looks import ALONE, PASSING
from agent.vision.voting import Vote, is_strange, join_slots
from tests.fakes import NOON
from tests.plates import make_corners, show_plates

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PICTURE = np.full((720, 1280), 90, np.uint8)
FRAME_S = 1 / 30
LONG_AFTER = 10_000


class Counted:
    """A network that notes the shapes it is given."""

    def __init__(self, network):
        self.network, self.shapes = network, []

    def run(self, pixels, /):
        """Pass the pixels on."""
        self.shapes.append(pixels.shape)
        return self.network.run(pixels)


@pytest.fixture(scope="module")
def reader():
    return open_models(ModelSettings(), DetectSettings()).reader


def texts_of(slots: Slots) -> list[str]:
    best = slots.log_probs.argmax(axis=2)
    return [spell(row[:length], ALPHABET) for row, length in zip(best, slots.lengths, strict=True)]


def test_rendered_plates_are_read_in_one_call_and_in_their_order(reader):
    plates = {
        "7KXR482": make_corners(100, 100, 140, 70),
        "3CEH915": make_corners(500, 300, 110, 55),
        "8TNP036": make_corners(900, 500, 260, 130),
    }
    counted = Counted(reader.network)
    corners = np.stack(list(plates.values()))
    slots = read_crops(show_plates(plates), corners, replace(reader, network=counted))
    assert texts_of(slots) == list(plates)
    assert counted.shapes == [(3, 1, 48, 128)]


def test_a_plate_seen_at_an_angle_is_straightened(reader):
    corners = np.array([[300, 200], [420, 230], [412, 290], [296, 262]], np.float32)
    assert texts_of(read_crops(show_plates({"6WJD271": corners}), corners[None], reader)) == [
        "6WJD271"
    ]


def test_each_turn_shows_a_little_more_or_less_around_the_plate(reader):
    corners = make_corners(200, 200, 140, 70)
    picture = show_plates({"6WJD271": corners})
    crops = []

    class Kept:
        def run(self, pixels, /):
            crops.append(pixels.copy())
            return reader.network.run(pixels)

    kept = replace(reader, network=Kept())
    found = [texts_of(read_crops(picture, corners[None], kept, turn=turn)) for turn in range(6)]
    assert found == [["6WJD271"]] * 6
    assert len({crop.tobytes() for crop in crops}) == 5
    assert (crops[0] == crops[5]).all()


def test_a_weak_look_gets_a_tighter_and_a_wider_one_in_one_more_call(reader):
    plates = {
        "7KXR482": make_corners(100, 100, 140, 70),
        "3CEH915": make_corners(500, 300, 110, 55),
    }
    corners = np.stack(list(plates.values()))
    crops = []

    class Unsure:
        def run(self, pixels, /):
            crops.append(pixels.copy())
            (columns,) = reader.network.run(pixels)
            if len(crops) == 1:
                columns[1] = np.log(np.exp(columns[1]) * 0.5 + 0.5 / columns.shape[2])
            return [columns]

    slots = read_crops(show_plates(plates), corners, replace(reader, network=Unsure()))
    assert texts_of(slots) == list(plates)
    assert [len(pixels) for pixels in crops] == [2, 2]
    looks = {crops[0][1].tobytes(), crops[1][0].tobytes(), crops[1][1].tobytes()}
    assert len(looks) == 3
    assert measure_surety(slots)[1] > ALONE.below


def test_corners_that_take_in_what_stands_beside_the_plate_are_drawn_in_to_its_characters(reader):
    plate = make_corners(100, 100, 140, 70)
    wide = plate + np.float32([[0, 0], [90, 0], [90, 0], [0, 0]])
    crops = []

    class Unsure:
        def run(self, pixels, /):
            crops.append(pixels.copy())
            (columns,) = reader.network.run(pixels)
            if len(crops) < 3:
                columns = np.log(np.exp(columns) * 0.5 + 0.5 / columns.shape[2])
            return [columns]

    picture = show_plates({"7KXR482": plate})
    slots = read_crops(picture, wide[None], replace(reader, network=Unsure()))
    assert texts_of(slots) == ["7KXR482"]
    assert [len(pixels) for pixels in crops] == [1, 2, 2]
    assert measure_surety(slots)[0] > ALONE.below


@pytest.mark.parametrize(
    ("share", "again"), [(0.995, 0), (0.985, 0), (0.9, 1), (0.3, 0)],
    ids=["sure", "nearly sure", "doubtful", "next to nothing to see"],
)  # fmt: skip
def test_of_a_passing_plate_only_doubtful_looks_are_repeated_in_the_frame(reader, share, again):
    corners = make_corners(100, 100, 140, 70)
    counts = []

    class Unsure:
        def run(self, pixels, /):
            counts.append(len(pixels))
            (columns,) = reader.network.run(pixels)
            classes = columns.shape[2]
            return [np.log(np.exp(columns) * share + (1 - share) / classes).astype(np.float32)]

    unsure = replace(reader, network=Unsure(), temperature=1.0, patterns=None)
    read_crops(show_plates({"7KXR482": corners}), corners[None], unsure, doubt=PASSING)
    assert counts[1:2] == [again][: again > 0]


def test_without_crops_the_network_is_not_asked(reader):
    counted = Counted(reader.network)
    none = np.zeros((0, 4, 2), np.float32)
    slots = read_crops(PICTURE, none, replace(reader, network=counted))
    assert slots.lengths.shape == (0,)
    assert counted.shapes == []


def test_a_temperature_changes_how_sure_a_read_is_but_not_the_read(reader):
    corners = make_corners(100, 80, 200, 100)[None]
    picture = show_plates({"7KXR482": corners[0]})
    plain = read_crops(picture, corners, reader)
    cool = read_crops(picture, corners, replace(reader, temperature=3.0))
    assert texts_of(cool) == texts_of(plain)
    assert cool.log_probs.max(axis=2)[0, 0] < plain.log_probs.max(axis=2)[0, 0]


# From here on looks are made by hand: what the ballots make of them is the subject.


def frame(index: int) -> Frame:
    at = NOON + timedelta(seconds=index * FRAME_S)
    return Frame(index=index, captured_at=at, sensor_ns=0, y=PICTURE, lores=PICTURE)


def look(text: str, sureness: float = 0.97, complete: float = 0.99) -> Slots:
    log_probs = np.zeros((1, MAX_SLOTS, len(ALPHABET)), np.float32)
    for place, character in enumerate(text):
        row = np.full(len(ALPHABET), (1 - sureness) / (len(ALPHABET) - 1))
        row[ALPHABET.index(character)] = sureness
        log_probs[0, place] = normalise(np.log(row).astype(np.float32))
    return Slots(
        log_probs=log_probs,
        lengths=np.array([len(text)]),
        complete=np.log([complete]).astype(np.float32),
    )


def passage(track: int, first: int, last: int) -> Passage:
    return Passage(
        track_id=track,
        frames_seen=last - first + 1,
        first_seen=NOON + timedelta(seconds=first * FRAME_S),
        last_seen=NOON + timedelta(seconds=last * FRAME_S),
        first_frame=first,
        last_frame=last,
        direction=Direction.TOWARD,
    )


class Road:
    """Ballots with a short way to count looks and to end tracks."""

    def __init__(self, **settings) -> None:
        self.ballots = Ballots(ReadSettings(**settings), alphabet=ALPHABET, keep_crops=True)
        self.alive: set[int] = set()

    def see(self, index: int, width: float = 100.0, **looks: Slots) -> None:
        """Count one look at each track; `t0=look("…")` is one at track 0."""
        tracks = [int(name[1:]) for name in looks]
        self.alive |= set(tracks)
        corners = np.stack([make_corners(50 + 200 * n, 50, width, width / 2) for n in tracks])
        slots = join_slots(tuple(looks.values()))
        self.ballots.count(frame(index), track_ids=np.array(tracks), corners=corners, slots=slots)

    def end(self, *passages: Passage, at: int):
        """End tracks at the frame `at`; return the reads that came of it."""
        self.alive -= {one.track_id for one in passages}
        alive = np.array(sorted(self.alive), np.int64)
        now_ms = to_ms(frame(at).captured_at)
        return self.ballots.close(passages, alive=alive, now_ms=now_ms)


def test_a_passage_becomes_one_read_with_what_was_seen_of_it():
    road = Road()
    for index in range(4):
        road.see(index, t0=look("7KXR482"))
    assert road.end(passage(0, 0, 5), at=16) == ()
    (read,) = road.end(at=LONG_AFTER)
    assert read.text.characters == "7KXR482"
    assert not read.abstained
    assert (read.frames_seen, read.frames_agreed) == (6, 4)
    assert (read.first_frame, read.last_frame, read.direction) == (0, 5, Direction.TOWARD)
    assert len(read.confidences) == 7
    assert read.min_char_confidence > 0.97


def test_a_read_waits_until_its_vehicle_cannot_turn_up_again():
    road = Road()
    road.see(0, t0=look("7KXR482"))
    frames = round(MERGE_MS / 1000 / FRAME_S)
    assert road.end(passage(0, 0, 1), at=1 + frames - 1) == ()
    assert len(road.end(at=1 + frames + 1)) == 1


def test_a_clock_set_back_does_not_hold_a_finished_read_in_memory():
    road = Road()
    road.see(1000, t0=look("7KXR482"))
    assert len(road.end(passage(0, 1000, 1001), at=10)) == 1


def test_the_same_text_again_after_a_moment_is_the_same_vehicle():
    road = Road()
    for index in (0, 1, 2):
        road.see(index, t0=look("7KXR482"))
    road.end(passage(0, 0, 2), at=13)
    for index in (20, 21):
        road.see(index, t1=look("7KXR482"))
    assert road.end(at=80) == ()  # the second track still goes on
    road.end(passage(1, 20, 100), at=111)
    (read,) = road.end(at=LONG_AFTER)
    assert (read.first_frame, read.last_frame) == (0, 100)
    assert (read.frames_seen, read.frames_agreed) == (3 + 81, 5)


def test_a_part_of_the_text_a_moment_earlier_is_the_same_vehicle():
    road = Road()
    road.see(0, t0=look("KXR482"))
    road.end(passage(0, 0, 2), at=13)
    for index in (20, 21):
        road.see(index, t1=look("7KXR482"))
    road.end(passage(1, 20, 22), at=33)
    (read,) = road.end(at=LONG_AFTER)
    assert (read.text.characters, read.first_frame, read.frames_agreed) == ("7KXR482", 0, 2)


def test_the_same_text_much_later_is_another_passage():
    road = Road()
    road.see(0, t0=look("7KXR482"))
    first = road.end(passage(0, 0, 2), at=13) + road.end(at=500)
    road.see(600, t1=look("7KXR482"))
    second = road.end(passage(1, 600, 602), at=613) + road.end(at=1200)
    assert [read.first_frame for read in first + second] == [0, 600]


def test_another_text_a_moment_later_is_another_vehicle():
    road = Road()
    road.see(0, t0=look("7KXR482"))
    road.end(passage(0, 0, 2), at=13)
    road.see(20, t1=look("7KXR483"))
    road.end(passage(1, 20, 22), at=33)
    assert len(road.end(at=LONG_AFTER)) == 2


@pytest.mark.parametrize(
    ("looks", "settings"),
    [
        pytest.param([look("7KXR482", 0.2)] * 2, {}, id="weak character"),
        pytest.param([look("7KXR482")], {"min_frames_agreed": 2}, id="one look"),
        pytest.param([look("7KXR482", 0.98), look("7KXR48Z")], {}, id="looks disagree"),
        pytest.param([look("7KXR482", 0.68)] * 2, {}, id="all characters a little weak"),
        pytest.param([look("7KXR482", complete=0.4)] * 4, {}, id="perhaps one overlooked"),
        pytest.param(
            [look("7KXR482")] * 5 + [look("7KXR48Z", 0.96)] * 3,
            {"certain_early": False},
            id="many looks disagree",
        ),
        pytest.param([look("7K")] * 4, {}, id="too few characters"),
        pytest.param([look("")] * 4, {}, id="nothing to see"),
    ],
)
def test_a_weak_outcome_abstains_but_keeps_its_guess(looks, settings):
    road = Road(**settings)
    for index, one in enumerate(looks):
        road.see(index, t0=one)
    road.end(passage(0, 0, 9), at=9)
    (read,) = road.end(at=LONG_AFTER)
    assert read.abstained
    assert read.text.characters == texts_of(looks[0])[0]


def test_a_track_is_certain_after_enough_agreeing_looks_and_not_before():
    road = Road()
    for index in range(CERTAIN_LOOKS):
        assert road.ballots.certain == frozenset()
        road.see(index, t0=look("7KXR482", 0.9), t1=look("3CEH915", 0.4))
    assert road.ballots.certain == {0}


@pytest.mark.parametrize(
    ("looks", "settings", "asked", "certain"),
    [
        pytest.param([look("7KXR482", 0.98)] * 2, {}, 1, {0}, id="two that are very sure"),
        pytest.param([look("7KXR482", 0.98)], {}, 1, set(), id="one alone never"),
        pytest.param([look("7KXR482", 0.9)] * 2, {}, 1, set(), id="two that are not so sure"),
        pytest.param(
            [look("7KXR482", 0.98)] * 2, {"certain_early": False}, 1, set(), id="switched off"
        ),
        pytest.param([look("7KXR482", 0.98)] * 2, {}, 3, set(), id="the policy asks for three"),
        pytest.param([look("7KXR482", 0.98)] * 3, {}, 3, {0}, id="and gets them"),
        pytest.param(
            [look("7KXR482", 0.98)] * 2, {"min_frames_agreed": 3}, 1, set(), id="the settings ask"
        ),
        pytest.param(
            [look("KXR482", 0.98), look("7KXR482", 0.98)], {}, 1, set(), id="two that disagree"
        ),
    ],
)
def test_two_looks_that_are_very_sure_together_end_the_reading(looks, settings, asked, certain):
    road = Road(**settings)
    road.ballots.follow(keep_crops=False, certain_looks=asked)
    for index, one in enumerate(looks):
        road.see(2 * index, t0=one)
    assert road.ballots.certain == certain


def test_after_a_sure_look_the_next_may_wait_and_after_a_doubtful_one_it_may_not():
    road = Road()
    road.see(0, t0=look("7KXR482", 0.995), t1=look("3CEH915", 0.9))
    assert road.ballots.calm == {0}
    road.see(1, t0=look("7KXR48Z", 0.99), t1=look("3CEH915", 0.9))
    assert road.ballots.calm == set()
    off = Road(certain_early=False)
    off.see(0, t0=look("7KXR482", 0.995))
    assert off.ballots.calm == set()


FROM_AFAR = ["5N192", "5CH2Z", "5B793", "5WE192", "5C78192", "5G2B192"]


@pytest.mark.parametrize(("weighed", "abstained"), [(True, False), (False, True)])
def test_guesses_from_afar_do_not_make_a_later_clear_read_abstain(weighed, abstained):
    road = Road(weigh_looks=weighed)
    for index, text in enumerate(FROM_AFAR):
        road.see(index, 30 + index, t0=look(text, 0.6))
    for index in range(6, 9):
        road.see(index, 45 + 5 * (index - 6), t0=look("5CZB192", 0.98))
    road.end(passage(0, 0, 9), at=9)
    (read,) = road.end(at=LONG_AFTER)
    assert read.text.characters == "5CZB192"
    assert read.abstained is abstained
    assert read.frames_agreed == 3


def test_a_sure_look_from_afar_is_still_a_disagreement():
    road = Road(certain_early=False)
    for index in range(3):
        road.see(index, 40, t0=look("5C7B192", 0.98))
    for index in range(3, 6):
        road.see(index, 45, t0=look("5CZB192", 0.98))
    road.end(passage(0, 0, 9), at=9)
    (read,) = road.end(at=LONG_AFTER)
    assert read.abstained


def test_a_track_whose_looks_keep_disagreeing_is_not_certain():
    road = Road(certain_early=False)
    for index, text in enumerate(["7KXR482", "KXR482", "7KXR482", "KXR482"]):
        road.see(index, t0=look(text))
    for index in (4, 5, 6):
        assert road.ballots.certain == frozenset()
        road.see(index, t0=look("7KXR482"))
    assert road.ballots.certain == {0}


def test_a_certain_text_that_turns_out_to_be_a_part_is_read_again_and_mended():
    road = Road()
    for index in range(CERTAIN_LOOKS):
        road.see(index, t0=look("KXR482"))
    assert road.ballots.certain == {0}
    road.see(20, t0=look("7KXR482"))
    assert road.ballots.certain == frozenset()
    for index in range(21, 25):
        road.see(index, t0=look("7KXR482"))
    (read,) = road.end(passage(0, 0, 25), at=26) + road.ballots.finish(())
    assert read.text.characters == "7KXR482"


def test_looks_that_agree_with_a_certain_text_count_as_agreed():
    road = Road(certain_early=False)
    for index in range(CERTAIN_LOOKS + 2):
        road.see(index, t0=look("7KXR482"))
    (read,) = road.end(passage(0, 0, 9), at=9) + road.ballots.finish(())
    assert read.frames_agreed == CERTAIN_LOOKS + 2


def test_checks_of_a_certain_track_outweigh_late_doubts():
    road = Road()
    for index in range(6):
        road.see(index, t0=look("7KXR482", 0.98))
    road.see(6, t0=look("7KXR48Z", 0.97))
    (read,) = road.end(passage(0, 0, 9), at=9) + road.ballots.finish(())
    assert (read.text.characters, read.frames_agreed) == ("7KXR482", 6)
    assert not read.abstained


def test_another_vehicle_in_the_place_of_a_certain_one_parts_the_track():
    road = Road()
    for index in range(CERTAIN_LOOKS):
        road.see(index, t0=look("7KXR482"))
    road.see(10, t0=look("3CEH915"))
    assert (road.ballots.certain, road.ballots.swapped) == (frozenset(), frozenset())
    road.see(11, t0=look("3CEH915"))
    assert road.ballots.swapped == {0}
    (read,) = road.end(passage(0, 0, 11), at=12) + road.ballots.finish(())
    assert (read.text.characters, read.frames_agreed) == ("7KXR482", CERTAIN_LOOKS)


def test_one_strange_look_at_a_certain_track_is_forgiven():
    road = Road(certain_early=False)
    for index in range(CERTAIN_LOOKS):
        road.see(index, t0=look("7KXR482"))
    road.see(10, t0=look("3CEH915"))
    for index in range(11, 11 + CERTAIN_LOOKS):
        assert road.ballots.certain == frozenset()
        road.see(index, t0=look("7KXR482"))
        assert road.ballots.swapped == frozenset()
    assert road.ballots.certain == {0}


@pytest.mark.parametrize(
    ("text", "sureness", "strange"),
    [
        ("3CEH915", 0.97, True),
        ("3CEH915", 0.6, False),
        ("7KXR483", 0.97, False),
        ("7KX", 0.97, True),
        ("KXR482", 0.97, False),
        ("", 0.97, False),
    ],
)
def test_only_a_sure_look_at_a_quite_different_text_is_strange(text, sureness, strange):
    known = Vote(characters="7KXR482", confidences=(0.99,) * 7, agreed=3)
    seen = Vote(characters=text, confidences=(sureness,) * len(text), agreed=1)
    assert is_strange(seen, known) is strange


def test_a_track_that_was_no_passage_is_forgotten():
    road = Road()
    road.see(0, t0=look("7KXR482"))
    road.alive.clear()
    assert road.end(at=5) == ()
    assert road.ballots.finish(()) == ()


def test_a_passage_of_which_nothing_was_read_leaves_no_read():
    assert Road().end(passage(5, 0, 9), at=LONG_AFTER) == ()


def test_finishing_gives_the_reads_that_were_waiting_and_those_just_ended():
    road = Road()
    road.see(0, t0=look("7KXR482"), t1=look("3CEH915"))
    road.end(passage(0, 0, 2), at=13)
    reads = road.ballots.finish((passage(1, 0, 14),))
    assert {read.text.characters for read in reads} == {"7KXR482", "3CEH915"}
    assert road.ballots.finish(()) == ()


def test_the_best_crop_is_kept_as_a_small_jpeg():
    road = Road()
    for index, width in enumerate([80.0, 160.0, 120.0]):
        road.see(index, width, t0=look("7KXR482"))
    (read,) = road.end(passage(0, 0, 9), at=9) + road.ballots.finish(())
    crop = decode_picture(read.crop_jpeg)
    assert crop is not None
    assert crop.shape == (80, 160)
    assert len(read.crop_jpeg) < 4096
    assert read.corners == tuple(make_corners(50, 50, 160, 80).ravel().tolist())


def test_without_leave_no_crop_is_kept():
    ballots = Ballots(ReadSettings(), alphabet=ALPHABET, keep_crops=False)
    corners = make_corners(50, 50, 100, 50)[None]
    ballots.count(frame(0), track_ids=np.array([0]), corners=corners, slots=look("7KXR482"))
    (read,) = ballots.finish((passage(0, 0, 2),))
    assert read.crop_jpeg == b""


def test_a_kept_crop_is_a_copy_of_the_camera_buffer():
    buffer = show_plates({"7KXR482": make_corners(50, 50, 100, 50)})
    shown = replace(frame(0), y=buffer)
    ballots = Ballots(ReadSettings(), alphabet=ALPHABET, keep_crops=True)
    corners = make_corners(50, 50, 100, 50)[None]
    ballots.count(shown, track_ids=np.array([0]), corners=corners, slots=look("7KXR482"))
    buffer[:] = 0
    (read,) = ballots.finish((passage(0, 0, 2),))
    crop = decode_picture(read.crop_jpeg)
    assert crop is not None
    assert crop.max() > 100


def test_a_rendered_crop_of_full_size_takes_about_four_kilobytes():
    corners = make_corners(100, 100, 500, 250)
    road = Road()
    picture = show_plates({"7KXR482": corners})
    noisy = np.clip(picture + np.random.default_rng(1).normal(0, 3, picture.shape), 0, 255)
    shown = replace(frame(0), y=noisy.astype(np.uint8))
    road.ballots.count(shown, track_ids=np.array([0]), corners=corners[None], slots=look("7KXR482"))
    (read,) = road.ballots.finish((passage(0, 0, 2),))
    assert 1000 < len(read.crop_jpeg) < 5120


def test_reads_hide_the_plate_in_their_repr():
    road = Road()
    road.see(0, t0=look("7KXR482"))
    (read,) = road.ballots.finish((passage(0, 0, 2),))
    assert "7KXR482" not in repr(read)
    assert "7KXR482" not in repr(road.ballots.__dict__)
