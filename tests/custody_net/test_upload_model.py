"""A fault at every arrow of the upload: nothing lost, nothing doubled, everything accounted for."""

import random
from collections import Counter

import pytest
from homeplate_endpoint.intake import Intake, RefusalError
from homeplate_endpoint.store import Store
from msgspec.structs import replace

from agent.base.lanes import Lane
from agent.trust.receipts import NO_RECEIPT, open_receipt, receipt_hash
from tests.custody_net.counts import count
from tests.custody_net.upload_model import KILLS, UNIT, WAYS, World, memory_folder, simulate

pytestmark = pytest.mark.custody
UPLOADS = 1_500
"""In CI; the long run is `python -m tests.custody_net.upload_model --uploads 100000`."""


@pytest.fixture(scope="module")
def counts():
    return simulate(UPLOADS, seed=20_261_122)


def test_no_upload_is_lost_or_doubled(counts):
    assert counts["uploads"] >= UPLOADS
    count("simulated uploads with faults", counts["uploads"])
    count("restarts of the sender in them", counts["restarts of the sender"])


@pytest.mark.parametrize("fault", [*WAYS, *KILLS, "reordered batches"])
def test_every_arrow_had_its_fault(counts, fault):
    assert counts[fault] > 0


class HastySender(World):
    """Deletes without waiting for a receipt: what the model must find."""

    def start(self):
        super().start()
        self.sending._backlog.is_settled = lambda *_: True


def test_a_sender_that_deletes_without_a_receipt_is_found(tmp_path):
    world = HastySender(tmp_path / "state", 3)
    world.sending._upload = lambda *_: None
    world.keep()
    world.work()
    assert world.spool.lost > 0
    with pytest.raises(AssertionError):
        world.check()


def test_an_endpoint_that_forgets_who_it_knows_is_found(tmp_path):
    world = World(tmp_path / "state", 4, share=0)
    world.store._is_known = lambda _: False
    world.keep()
    world.work()
    world.store.receipts.clear()
    world.city._try(*world.city.old[-1])
    assert len(world.store.arrived) > len(world.sealed)
    with pytest.raises(AssertionError):
        world.check()


class Recorder:
    """Gives every request to two endpoints and holds their answers against each other."""

    def __init__(self, city, store, watch_key, clock):
        self.simulated, self.signer = city.intake, city.signer
        self.real = Intake(
            store=store,
            watch_keys={UNIT: watch_key},
            signer=city.signer,
            clock=clock,
            raise_alarm=lambda *_: None,
        )
        self.compared = 0
        self.given: dict[int, list[bytes]] = {}
        """Hashes of the receipts of each endpoint, in order."""

    def receive(self, unit, key, body):
        answers = [self.ask(intake, key, body) for intake in (self.simulated, self.real)]
        assert answers[0][1:] == answers[1][1:]
        self.compared += 1
        if isinstance(answers[0][0], RefusalError):
            raise answers[0][0]
        return answers[0][0]

    def ask(self, intake, key, body):
        try:
            signed = intake.receive(UNIT, key, body)
        except RefusalError as error:
            return error, error.status, error.error, error.known_size
        receipt = open_receipt(signed, (self.signer.public_key,))
        given = self.given.setdefault(id(intake), [NO_RECEIPT])
        place = given.index(receipt.previous)  # signatures differ, so the hashes do
        if receipt_hash(signed) not in given:
            given.append(receipt_hash(signed))
        return signed, replace(receipt, previous=NO_RECEIPT), place


@pytest.mark.parametrize("seed", range(3))
def test_the_simulated_endpoint_answers_as_the_real_one(tmp_path, seed):
    world = World(tmp_path / "state", seed, share=0.5)
    store = Store(tmp_path / "real")
    recorder = Recorder(world.city, store, world.watch_key.public_key, world.clock)
    world.city.intake = recorder
    world.live(rounds=12)
    bodies = list(world.city.old)
    random.Random(seed).shuffle(bodies)
    for key, body in bodies:
        changed = body[:-1] + bytes([body[-1] ^ 1])
        for request in ((key, body), ("0" * 64, body), (key, changed)):
            try:
                recorder.receive(UNIT, *request)
            except RefusalError:
                continue
    assert recorder.compared > 30
    count("uploads compared with the real endpoint", recorder.compared)
    store.close()


def test_after_a_long_outage_the_whole_backlog_arrives_in_turns():
    """300 segments of all lanes wait; each lane has its share of the first sixty deletions."""
    with memory_folder() as folder:
        world = World(folder / "state", 7, share=0)
        for _ in range(300):
            world.keep()
        lanes = []
        delete = world.spool.delete
        world.spool.delete = lambda segment: (lanes.append(segment.lane), delete(segment))
        for _ in range(20):
            world.work()
        assert set(lanes[:60]) == set(Lane)
        assert Counter(lanes[:60]).most_common(1)[0][0] is Lane.HITS
        del world.spool.delete
        world.check()
