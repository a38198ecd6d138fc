"""The sender carries a request and an answer that it can neither read nor open."""

import pytest

from agent.base.errors import CredentialError, UplinkError
from agent.pipeline.courier import ASK_INTERVAL_NS, HotlistCourier
from agent.trust.answers import Answer
from tests.fakes import FakeClock


class City:
    """Stands for the endpoint: answers what it is told to, notes what it was asked."""

    def __init__(self):
        self.asked, self.answers = [], []

    def exchange(self, method, path, body=b"", *, headers=None, limit_bytes):
        self.asked.append((method, path, body, dict(headers)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, content, tag = answer
        return Answer(status=status, reason="", content=content, headers={"etag": tag})


class Sender:
    def __init__(self, folder):
        self.folder, self.city, self.clock = folder, City(), FakeClock()
        self.courier = HotlistCourier(folder, self.city, self.clock)

    def ask_for(self, content=b"request"):
        (self.folder / "hotlist.request").write_bytes(content)

    def work(self, *answers, seconds=0.0):
        self.clock.advance(seconds)
        self.city.answers += answers
        self.courier.work()

    @property
    def sealed(self):
        return (self.folder / "hotlist.sealed").read_bytes()


@pytest.fixture
def sender(tmp_path):
    return Sender(tmp_path)


def test_nothing_is_asked_while_no_watcher_runs(sender):
    sender.work()
    assert sender.city.asked == []


def test_a_new_request_is_carried_at_once_and_the_answer_laid_down(sender):
    sender.ask_for()
    sender.work((200, b"sealed", "one"))
    ((method, path, body, headers),) = sender.city.asked
    assert (method, path, body) == ("POST", "/v1/hotlist", b"request")
    assert headers["Content-Type"] == "application/cbor"
    assert "If-None-Match" not in headers
    assert sender.sealed == b"sealed"
    assert (sender.folder / "hotlist.sealed").stat().st_mode & 0o777 == 0o640


def test_the_city_is_asked_again_after_a_while_with_what_is_there_already(sender):
    sender.ask_for()
    sender.work((200, b"sealed", "one"))
    sender.work(seconds=ASK_INTERVAL_NS / 1e9 - 0.1)
    assert len(sender.city.asked) == 1
    sender.work((304, b"", "one"), seconds=0.2)
    assert sender.city.asked[1][3]["If-None-Match"] == "one"
    assert sender.sealed == b"sealed"
    sender.work((200, b"newer", "two"), seconds=31)
    assert sender.sealed == b"newer"


def test_another_start_of_the_watcher_is_asked_for_anew(sender):
    sender.ask_for()
    sender.work((200, b"sealed", "one"))
    sender.ask_for(b"another")
    sender.work((200, b"for the other", "two"))
    assert sender.city.asked[1][2] == b"another"
    assert "If-None-Match" not in sender.city.asked[1][3]
    assert sender.sealed == b"for the other"


def test_an_emptied_folder_is_filled_again(sender):
    sender.ask_for()
    sender.work((200, b"sealed", "one"))
    (sender.folder / "hotlist.sealed").unlink()
    sender.work((200, b"sealed", "one"), seconds=31)
    assert "If-None-Match" not in sender.city.asked[1][3]
    assert sender.sealed == b"sealed"


def test_a_city_without_a_list_brings_none(sender):
    sender.ask_for()
    sender.work((204, b"", ""))
    assert not (sender.folder / "hotlist.sealed").exists()


def test_a_failure_holds_up_nothing_and_is_tried_again(sender, caplog):
    sender.ask_for()
    sender.work(UplinkError("no route"))
    assert [record.message for record in caplog.records] == ["hotlist not fetched"]
    sender.work((200, b"sealed", "one"), seconds=31)
    assert sender.sealed == b"sealed"


def test_a_folder_that_takes_nothing_holds_up_nothing(sender, caplog):
    sender.ask_for()
    (sender.folder / ".hotlist.sealed.new").mkdir()
    sender.work((200, b"sealed", "one"))
    assert [record.message for record in caplog.records] == ["hotlist not fetched"]


def test_a_city_that_does_not_know_the_unit_any_more_ends_it(sender):
    sender.ask_for()
    with pytest.raises(CredentialError):
        sender.work(CredentialError("revoked"))


@pytest.mark.parametrize("size", [0, 5000], ids=["empty", "too large"])
def test_a_request_that_is_none_is_not_carried(sender, size):
    sender.ask_for(bytes(size))
    sender.work()
    assert sender.city.asked == []


@pytest.mark.parametrize("name", [".hotlist.sealed.new", "hotlist.sealed"])
def test_a_link_of_the_watchers_makes_the_sender_write_nowhere_else(sender, tmp_path, name):
    log = tmp_path / "entries.log"
    log.write_bytes(b"the sender's log")
    (sender.folder / name).symlink_to(log)
    sender.ask_for()
    sender.work((200, b"sealed", "one"))
    assert log.read_bytes() == b"the sender's log"
    assert sender.sealed == b"sealed"
    assert not (sender.folder / "hotlist.sealed").is_symlink()
