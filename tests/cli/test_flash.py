"""Flashing: what reaches the card, what is refused, and that nothing else is touched."""

import ctypes
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import ConfigError, DeviceError
from agent.cli import main
from agent.cli.boot_partition import open_target
from agent.cli.cloud_init import Network, is_foreign, meta_data, network_config, user_data
from agent.cli.flash import place_files, write_files
from agent.cli.machine import IN_MEMORY, Machine
from agent.cli.partition_table import find_boot_partition
from agent.cli.unit_bundle import (
    CLOUD_FILES,
    Manifest,
    draw_token,
    encode_token,
    load_bundle,
    write_bundle,
)

UNIT = "unit-0001"
START_BYTES = 1_048_576
needs_mtools = pytest.mark.skipif(
    shutil.which("mcopy") is None, reason="mtools is not installed; .ci/run installs it"
)
STOCK = {
    "config.txt": b"camera_auto_detect=1\n",
    "cmdline.txt": b"console=tty1 rootwait\n",
    "user-data": b"#cloud-config\n\n# write your settings here\n#hostname: raspberrypi\n",
    "network-config": b"# network:\n#   version: 2\n",
    "meta-data": b"# stock\ndsmode: local\ninstance_id: rpios-image\n",
}


def make_bundle(folder, unit=UNIT, *, days=7):
    """Make a bundle as `unit add` does; flashing does not look into its policy."""
    now = datetime.now(UTC)
    files = {
        "unit.toml": f'unit = "{unit}"\n[camera]\nsource = "x"\n'.encode(),
        "policy.bundle": b"policy" * 1000,
        "root.json": b"{}",
        "enrol.token": encode_token(draw_token()),
        "user-data": user_data(unit),
        "network-config": network_config(unit, Network()),
        "meta-data": meta_data(unit, "0" * 12),
    }
    manifest = Manifest(
        unit=unit,
        city="Exampleton",
        made_at=now,
        expires_at=now + timedelta(days=days),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    write_bundle(folder, manifest, files)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle")


class Mounted:
    """A mounted boot partition with what Raspberry Pi OS puts on it."""

    def __init__(self, folder):
        self.path = folder / "bootfs"
        self.path.mkdir()
        for name, content in STOCK.items():
            self.put(name, content)

    def put(self, name, content):
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_bytes(content)

    def files(self):
        found = (path for path in self.path.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.read_bytes() for path in found}


class Image:
    """An image of a card: a partition table and a FAT boot partition, made by mtools."""

    def __init__(self, folder, *, size_bytes=48_000_000, table="mbr"):
        self.path = folder / "card.img"
        self.path.touch()
        os.truncate(self.path, START_BYTES + size_bytes + 33 * 512)
        write_table(self.path, table, size_bytes)
        sectors = str(size_bytes // 512)
        self.tool("mformat", "-T", sectors, "-h", "16", "-s", "63", "-v", "bootfs", "::")
        for name, content in STOCK.items():
            self.put(name, content)

    def tool(self, name, *words, given=b""):
        drive = f"{self.path}@@{START_BYTES}"
        done = subprocess.run(
            [name, "-i", drive, *words], input=given, capture_output=True, check=True
        )
        return done.stdout

    def put(self, name, content):
        self.tool("mcopy", "-o", "-", f"::/{name}", given=content)

    def files(self):
        listed = self.tool("mdir", "-/", "-b", "::/").decode().split()
        names = [name.removeprefix("::/") for name in listed if not name.endswith("/")]
        return {name: self.tool("mtype", f"::/{name}") for name in names}


def write_table(path, kind, size_bytes):
    """Write a partition table whose first FAT partition is number two."""
    first = bytearray(512)
    first[510:] = b"\x55\xaa"
    linux = struct.pack("<B3xB3xII", 0, 0x83, 63, 1)
    if kind == "mbr":
        entry = struct.pack("<B3xB3xII", 0, 0x0C, START_BYTES // 512, size_bytes // 512)
        first[446:478] = linux + entry
    else:
        first[446:462] = struct.pack("<B3xB3xII", 0, 0xEE, 1, 0xFFFFFFFF)
    with path.open("r+b") as file:
        file.write(first)
        if kind == "gpt":
            header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 128, 128)
            file.write(header.ljust(512, b"\0"))
            other = bytes.fromhex("af3dc60f838472478e793d69d8477de4").ljust(128, b"\0")
            data = bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7") + bytes(16)
            data += struct.pack("<QQ", START_BYTES // 512, (START_BYTES + size_bytes) // 512 - 1)
            file.write(other + data.ljust(128, b"\0"))


KINDS = [
    pytest.param(Mounted, id="mounted"),
    pytest.param(Image, id="image with MBR", marks=needs_mtools),
    pytest.param(
        lambda folder: Image(folder, table="gpt"), id="image with GPT", marks=needs_mtools
    ),
]


@pytest.fixture(params=KINDS)
def card(request, tmp_path):
    return request.param(tmp_path)


def flash(*words):
    return main(["flash", *map(str, words)])


def expected(bundle):
    own = ("unit.toml", "policy.bundle", "root.json", "enrol.token", "bundle.json")
    files = {f"homeplate/{name}": (bundle / name).read_bytes() for name in own}
    cloud = ("user-data", "network-config", "meta-data")
    return STOCK | files | {name: (bundle / name).read_bytes() for name in cloud}


def test_the_bundle_is_on_the_card_and_nothing_else_has_changed(bundle, card, capsys):
    assert flash(bundle, card.path) == 0
    assert card.files() == expected(bundle)
    said = capsys.readouterr()
    assert "unit-0001: flashed" in said.out
    assert "writing 8/8 homeplate/bundle.json" in said.err
    assert "reading back 8/8" in said.err


def count_remembered(descriptor):
    """Return how many pages of a file the computer has in memory (mincore(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    size_bytes = os.fstat(descriptor).st_size
    with mmap.mmap(descriptor, size_bytes, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as view:
        pages = (ctypes.c_ubyte * -(-size_bytes // mmap.PAGESIZE))()
        begin = np.frombuffer(view, np.uint8).ctypes.data
        assert libc.mincore(ctypes.c_void_p(begin), ctypes.c_size_t(size_bytes), pages) == 0
    return sum(page & 1 for page in pages)


def test_what_is_read_back_comes_from_the_disk_and_not_from_memory(
    bundle, card, tmp_path, monkeypatch
):
    mount = Machine().mount_of(tmp_path)
    if mount is None or mount.kind in IN_MEMORY:
        pytest.skip("the folder for tests is in memory itself")
    remembered, real = [], os.posix_fadvise

    def forget(descriptor, *words):
        before = count_remembered(descriptor)
        real(descriptor, *words)
        remembered.append((before, count_remembered(descriptor)))

    monkeypatch.setattr(os, "posix_fadvise", forget)
    files = place_files(load_bundle(bundle))
    write_files(open_target(card.path), files)
    assert len(remembered) == len(files)
    assert remembered[0][0] > 0
    assert {after for _, after in remembered} == {0}


def test_a_dry_run_writes_nothing(bundle, card, capsys):
    before = card.path.read_bytes() if card.path.is_file() else card.files()
    assert flash(bundle, card.path, "--dry-run") == 0
    assert (card.path.read_bytes() if card.path.is_file() else card.files()) == before
    assert not (bundle / "flashed.json").exists()
    assert "replaced" in capsys.readouterr().out


def refused(capsys, code, *words):
    """Make sure that the last command said in one line what is wrong."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert said.startswith("homeplate: ")
    assert all(word in said for word in words), said
    return code


def test_a_bundle_is_flashed_once(bundle, card, capsys):
    flash(bundle, card.path)
    capsys.readouterr()
    assert flash(bundle, card.path) == refused(capsys, 78, "token used before", "--again")
    assert flash(bundle, card.path, "--again") == 0
    assert card.files() == expected(bundle)


def test_a_token_that_is_over_is_not_flashed(tmp_path, card, capsys):
    bundle = make_bundle(tmp_path / "old", days=-1)
    assert flash(bundle, card.path) == refused(capsys, 78, "its token ended")


def test_another_units_card_is_left_alone(tmp_path, bundle, card, capsys):
    flash(make_bundle(tmp_path / "other", "unit-0002"), card.path)
    before = card.files()
    capsys.readouterr()
    assert flash(bundle, card.path) == refused(capsys, 78, "unit-0002", "--replace")
    assert card.files() == before
    assert flash(bundle, card.path, "--replace") == 0
    assert card.files() == expected(bundle)


@pytest.mark.parametrize("name", ["user-data", "network-config"])
def test_settings_of_somebody_else_are_left_alone(bundle, card, capsys, name):
    card.put(name, b"#cloud-config\nhostname: mine\n")
    before = card.files()
    assert flash(bundle, card.path) == refused(capsys, 78, name, "not ours", "--replace")
    assert card.files() == before


@pytest.mark.parametrize("name", ["config.txt", "cmdline.txt"])
def test_a_folder_that_is_no_boot_partition_is_refused(bundle, tmp_path, capsys, name):
    card = Mounted(tmp_path)
    (card.path / name).unlink()
    before = card.files()
    assert flash(bundle, card.path) == refused(capsys, 78, "wrong partition", name, "bootfs")
    assert card.files() == before


def write_cut(path):
    path.write_bytes(bytes(1024))
    write_table(path, "mbr", 1_000_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda _: None, ("no such file",), id="nothing there"),
        pytest.param(os.mkfifo, ("whole disk",), id="no file"),
        pytest.param(lambda path: path.write_bytes(b""), ("no FAT partition",), id="empty file"),
        pytest.param(
            lambda path: path.write_bytes(b"\x55\xaa" * 4096), ("no FAT partition",), id="noise"
        ),
        pytest.param(write_cut, ("no FAT partition",), id="image that is cut off"),
    ],
)
def test_a_target_that_is_none_is_refused(bundle, tmp_path, capsys, make, words):
    make(tmp_path / "target")
    assert flash(bundle, tmp_path / "target") == refused(capsys, 78, *words)


def test_a_packed_image_is_refused(bundle, tmp_path, capsys):
    (tmp_path / "card.img.xz").write_bytes(b"x")
    assert flash(bundle, tmp_path / "card.img.xz") == refused(capsys, 78, "packed", "xz -dk")


def test_a_bundle_that_is_none_is_refused(tmp_path, capsys):
    card = Mounted(tmp_path)
    assert flash(tmp_path / "none", card.path) == refused(capsys, 78, "no such folder")
    (tmp_path / "empty").mkdir()
    assert flash(tmp_path / "empty", card.path) == refused(capsys, 78, "bundle.json")


def test_a_file_of_the_bundle_that_was_changed_is_refused(bundle, tmp_path, capsys):
    card = Mounted(tmp_path)
    before = card.files()
    (bundle / "policy.bundle").write_bytes(b"another")
    assert flash(bundle, card.path) == refused(capsys, 65, "policy.bundle", "make the bundle")
    assert card.files() == before


@needs_mtools
def test_without_mtools_an_image_is_refused_with_what_to_do(bundle, tmp_path, capsys, monkeypatch):
    card = Image(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert flash(bundle, card.path) == refused(capsys, 78, "apt install mtools")


@needs_mtools
def test_a_partition_that_is_too_small_is_refused_before_anything_is_written(
    bundle, tmp_path, capsys
):
    card = Image(tmp_path, size_bytes=2_000_000)
    card.put("kernel8.img", bytes(1_900_000))
    before = card.path.read_bytes()
    assert flash(bundle, card.path) == refused(capsys, 78, "too small", "bytes free")
    assert card.path.read_bytes() == before


class FailingDisk:
    """Stands for a card that breaks: refuses writes, or gives back other bytes than it got."""

    place = "card"

    def __init__(self, *, reads=lambda content: content):
        self.kept, self._reads = {}, reads

    def write(self, name, content):
        self.kept[name] = content

    def read(self, name):
        return self._reads(self.kept[name])

    def make_folder(self, name):
        pass


def test_a_card_that_does_not_keep_what_was_written_is_told():
    card = FailingDisk(reads=lambda content: content[:-1] + b"?")
    with pytest.raises(DeviceError, match="does not read back"):
        write_files(card, {"a": b"one"})


@pytest.mark.skipif(os.geteuid() != 0, reason="root mounts")
def test_a_card_whose_lock_is_on_is_refused(bundle, tmp_path, capsys):
    card = Mounted(tmp_path)
    script = f"mount --bind {card.path} {card.path} && mount -o remount,bind,ro {card.path} && "
    script += f"exec {sys.executable} -m agent flash {bundle} {card.path}"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 78, done.stderr
    assert "read-only" in done.stderr


def test_stock_files_are_not_foreign_and_others_are():
    assert not any(is_foreign(STOCK[name]) for name in CLOUD_FILES)
    assert is_foreign(b"#cloud-config\nhostname: mine\n")
    assert not is_foreign(user_data("unit-0002"))


@given(st.lists(st.binary(max_size=700), max_size=4), st.booleans())
def test_no_partition_table_is_too_strange(tmp_path_factory, parts, signed):
    image = tmp_path_factory.getbasetemp() / "strange.img"
    content = b"".join(parts).ljust(2048, b"\xee")
    image.write_bytes(content[:510] + b"\x55\xaa" + content[512:] if signed else content)
    with pytest.raises(ConfigError, match="no FAT partition"):
        find_boot_partition(image)


@needs_mtools
@pytest.mark.parametrize("table", ["mbr", "gpt"])
def test_the_boot_partition_is_found(tmp_path, table):
    assert find_boot_partition(Image(tmp_path, table=table).path) == START_BYTES


@needs_mtools
def test_an_image_of_the_partition_alone_is_good_too(tmp_path, bundle):
    whole = Image(tmp_path)
    alone = tmp_path / "boot.img"
    alone.write_bytes(whole.path.read_bytes()[START_BYTES:])
    assert find_boot_partition(alone) == 0
    assert flash(bundle, alone) == 0
