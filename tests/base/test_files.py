"""Files: bounded reads and whole writes."""

import os

import pytest

from agent.base.errors import ConfigError
from agent.base.files import read_bounded, write_whole


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
