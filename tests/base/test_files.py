"""Files: bounded reads and whole writes."""

import os
import stat

import pytest

from agent.base.errors import ConfigError
from agent.base.files import read_bounded, read_secret, replace_unsynced, write_whole
from agent.base.memory import wipe


def test_a_small_file_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, limit_bytes=5) == b"12345"


def test_a_large_file_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"123456")
    with pytest.raises(ConfigError, match="larger than 5 bytes"):
        read_bounded(path, limit_bytes=5)


@pytest.mark.parametrize("make", [lambda _: None, lambda path: path.mkdir()], ids=["none", "dir"])
def test_what_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_bounded(tmp_path / "a", limit_bytes=5)


def test_a_secret_comes_in_a_buffer_that_can_be_wiped(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    secret = read_secret(path, limit_bytes=5)
    assert (type(secret), secret) == (bytearray, b"12345")
    wipe(secret)
    assert secret == bytes(5)


def test_a_secret_that_is_too_large_or_no_file_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"123456")
    with pytest.raises(ConfigError, match="larger than 5 bytes"):
        read_secret(path, limit_bytes=5)
    for other in (tmp_path, tmp_path / "b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_secret(other, limit_bytes=5)


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"old and long")
    write_whole(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208  names only


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"old")
    (tmp_path / ".a.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("write", [write_whole, replace_unsynced])
@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_link_in_the_way_is_not_followed(tmp_path, write, target):
    log, folder = tmp_path / "there", tmp_path / "shared"
    log.write_bytes(b"a log")
    folder.mkdir()
    (folder / ".a.new").symlink_to(tmp_path / target)
    write(folder / "a", b"new")
    assert (folder / "a").read_bytes() == b"new"
    assert stat.S_ISREG((folder / "a").lstat().st_mode)
    assert log.read_bytes() == b"a log"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("write", [write_whole, replace_unsynced])
def test_a_file_that_somebody_else_holds_open_is_not_written_to(tmp_path, write):
    lying = tmp_path / ".a.new"
    lying.write_bytes(b"")
    os.link(lying, tmp_path / "held")
    write(tmp_path / "a", b"new")
    assert (tmp_path / "held").read_bytes() == b""
