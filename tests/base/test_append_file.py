"""Files that only grow, and reading around bad sectors."""

import errno
import os
from pathlib import Path

import pytest

from agent.base.append_file import (
    AppendFile,
    make_directory,
    read_around_errors,
    read_file,
    rename_durably,
)

PAGE = 4096
MEBIBYTE = 1_048_576


def failing_pread(content, bad_pages):
    """A disk that holds `content` and cannot read some pages of it."""

    def pread(_descriptor, size, offset):
        pages = range(offset // PAGE, (offset + size + PAGE - 1) // PAGE)
        if bad_pages & set(pages):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return content[offset : offset + size]

    return pread


@pytest.mark.parametrize("size", [0, 1, PAGE, MEBIBYTE, 2 * MEBIBYTE + 7])
def test_a_sound_file_is_read_as_it_is(tmp_path, size):
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_file(path) == content


@pytest.mark.parametrize(
    ("size", "bad_pages"),
    [(PAGE, {0}), (5 * PAGE + 9, {5}), (5 * PAGE, {1, 3}), (MEBIBYTE + 9 * PAGE, {0, 255, 260})],
    ids=["only_page", "last_page", "two_pages", "two_chunks"],
)
def test_only_pages_that_cannot_be_read_are_zeros(size, bad_pages):
    content = b"\xff" * size
    found = read_around_errors(0, size, pread=failing_pread(content, bad_pages))
    assert len(found) == size
    for page in range((size + PAGE - 1) // PAGE):
        expected = b"\0" if page in bad_pages else b"\xff"
        assert set(found[page * PAGE : (page + 1) * PAGE]) == set(expected)


def test_a_file_that_shrank_meanwhile_ends_there():
    found = read_around_errors(0, 3 * MEBIBYTE, pread=failing_pread(b"short", set()))
    assert found == b"short"


def test_a_file_that_exists_is_not_opened_again(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        AppendFile.create(tmp_path / "file", mode=0o640)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_what_was_not_acknowledged_is_cut_back(tmp_path):
    file = AppendFile.create(tmp_path / "file", mode=0o640)
    file.append(b"kept")
    with (tmp_path / "file").open("ab") as stranger:
        stranger.write(b"half a fra")
    file.cut_back()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_full_device_refuses_an_append():
    file = AppendFile(Path("/dev/full"), os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="No space left"):
        file.append(b"text")
    file.cut_back()
    file.close()
    file.close()
    assert file.size_bytes == 0


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "spool", mode=0o750)


def test_renaming_again_after_an_error_changes_nothing(tmp_path):
    (tmp_path / "a.seg").write_bytes(b"text")
    rename_durably(tmp_path / "a.open", tmp_path / "a.seg")
    assert (tmp_path / "a.seg").read_bytes() == b"text"
