"""Updates of the application: what is refused, what runs, and what the power may cut off."""

import itertools
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import zstandard

from agent import __version__
from agent.base.application import ApplicationState, Slot, read_state
from agent.base.errors import ConfigError, IntegrityError, UpdateError
from agent.cli import main
from agent.cli.update import begin, finish, tell
from agent.cli.update_archive import pack, read_build, unpack
from agent.cli.update_install import require_room
from agent.cli.update_release import release_of
from agent.cli.update_slots import STARTS_LIMIT, Slots, count_start, fall_back, forget
from agent.cli.update_trial import BEATS, SERVICES, Sight, prove
from agent.trust.release import parse_release
from tests.fakes import FakeClock
from tests.policies import NOW, draft, take
from tests.updates import build, make_archive, make_tar, name_release, release_file

ROOT = Path(__file__).parents[2]
CUTS = ("fsync", "replace", "unlink", "symlink", "mkdir")
"""Between two of these nothing on the disk changes that counts."""


class Manager:
    """Services that say what they are told to, look by look."""

    def __init__(self, *sights):
        self.restarted, self.sights, self.looks = 0, sights, 0

    def restart(self, services):
        assert services == SERVICES
        self.restarted += 1

    def look(self, service):
        number = min(self.looks // len(SERVICES), len(self.sights) - 1)
        self.looks += 1
        return self.sights[number]


def beating(count, *, start="1"):
    return [Sight(state="active", start=start, beat=str(beat)) for beat in range(count)]


class Unit:
    """A unit's slots, and what the sender has brought."""

    def __init__(self, folder):
        self.folder, self.clock, self.manager = folder, FakeClock(NOW), Manager()
        (folder / "application").mkdir(exist_ok=True)
        self.slots, self.arriving = Slots(folder / "application"), folder / "archive"
        self.versions = itertools.count(1)

    def sign(self, application):
        number = next(self.versions)
        return take(draft(number).but(application=application).signed())

    def bring(self, version, **changes):
        """Bring an archive; return the decision that names it."""
        content = make_archive(self.folder, version, **changes).read_bytes()
        self.arriving.write_bytes(content)
        return self.sign(release_file(version, content))

    def begin(self, decision):
        return begin(self.slots, decision, self.arriving, self.clock, self.manager)

    def install(self, version, **changes):
        self.begin(self.bring(version, **changes))
        return finish(self.slots, "", self.clock, self.manager)

    def link(self, name):
        link = self.folder / "application" / name
        return str(link.readlink()) if link.is_symlink() else None

    def running(self):
        """Return the version that would start now."""
        slot = self.folder / "application/current"
        if not slot.is_symlink():
            return "package"
        (package,) = slot.glob("lib/*/site-packages/agent/__init__.py")
        return package.read_text().split('"')[1]

    def last(self):
        step = self.slots.read().steps[-1]
        return step.name, step.detail.partition(":")[0]


@pytest.fixture
def unit(tmp_path):
    return Unit(tmp_path)


def test_an_update_runs_on_trial_and_is_kept_when_it_has_proven_itself(unit):
    state = unit.begin(unit.bring("1.0.0"))
    assert (unit.running(), unit.link("good"), unit.manager.restarted) == ("1.0.0", None, 1)
    assert state.trial is not None
    state = finish(unit.slots, "", unit.clock, unit.manager)
    assert (state.trial, state.good.version) == (None, "1.0.0")
    assert unit.link("good") == unit.link("current") == "slots/a"
    assert [step.name for step in state.steps] == ["switched", "proven"]


def test_the_next_update_goes_into_the_other_slot(unit):
    unit.install("1.0.0")
    unit.install("1.1.0")
    assert (unit.link("current"), unit.running()) == ("slots/b", "1.1.0")
    unit.install("1.2.0")
    assert (unit.link("current"), unit.running()) == ("slots/a", "1.2.0")


def test_what_does_not_prove_itself_gives_way_to_what_did_and_is_not_tried_again(unit):
    unit.install("1.0.0")
    decision = unit.bring("1.1.0")
    unit.begin(decision)
    assert unit.running() == "1.1.0"
    finish(unit.slots, "homeplate-watch.service failed", unit.clock, unit.manager)
    assert unit.running() == "1.0.0"
    assert unit.last() == ("fallen-back", "homeplate-watch.service failed")
    restarts = unit.manager.restarted
    unit.begin(decision)
    assert (unit.running(), unit.manager.restarted) == ("1.0.0", restarts)


def test_without_a_slot_before_it_falls_back_to_the_package(unit):
    unit.begin(unit.bring("1.0.0"))
    finish(unit.slots, "no", unit.clock, unit.manager)
    assert unit.running() == "package"


def test_a_unit_that_restarts_again_and_again_falls_back(unit):
    unit.install("1.0.0")
    unit.begin(unit.bring("1.1.0"))
    for _ in range(STARTS_LIMIT):
        unit.slots.write(count_start(unit.slots.read(), at_ms=0))
        assert unit.running() == "1.1.0"
    unit.slots.write(count_start(unit.slots.read(), at_ms=0))
    assert unit.running() == "1.0.0"
    assert unit.last() == ("fallen-back", "3 starts of the machine without proof")


def test_a_package_that_is_installed_by_hand_is_what_runs(unit):
    unit.install("1.0.0")
    unit.slots.write(forget(unit.slots.read(), at_ms=0))
    assert (unit.running(), unit.link("good")) == ("package", None)
    unit.install("1.0.1")
    assert unit.running() == "1.0.1"


def test_nothing_that_runs_is_installed_again(unit):
    decision = unit.bring("1.0.0")
    unit.begin(decision)
    finish(unit.slots, "", unit.clock, unit.manager)
    assert unit.begin(decision).trial is None
    assert unit.manager.restarted == 1


def test_a_release_for_other_machines_is_no_business_of_this_one(unit):
    content = make_archive(unit.folder, "1.0.0").read_bytes()
    unit.arriving.write_bytes(content)
    decision = unit.sign(release_file("1.0.0", content, python="3.99"))
    assert unit.begin(decision) == ApplicationState()


def refuse_hash(unit):
    decision = unit.bring("1.1.0")
    content = bytearray(unit.arriving.read_bytes())
    content[len(content) // 2] ^= 1
    unit.arriving.write_bytes(content)
    return decision


def refuse_truncated(unit):
    decision = unit.bring("1.1.0")
    unit.arriving.write_bytes(unit.arriving.read_bytes()[:-1])
    return decision


def refuse_longer(unit):
    decision = unit.bring("1.1.0")
    unit.arriving.write_bytes(unit.arriving.read_bytes() + b"\0")
    return decision


def refuse_downgrade(unit):
    return unit.bring("0.9.9")


def refuse_replay(unit):
    """An older release of the city's, under a new policy."""
    unit.install("1.2.0")
    unit.slots.write(forget(unit.slots.read(), at_ms=0))  # what runs is older still
    return unit.bring("1.1.0")


def refuse_fork(unit):
    decision = unit.bring("1.1.0")
    unit.begin(decision)
    finish(unit.slots, "it fails", unit.clock, unit.manager)
    return unit.bring("1.1.0", code="# another\n")


def signed_tar(unit, *members, version="1.1.0"):
    content = make_tar(members)
    unit.arriving.write_bytes(content)
    return unit.sign(release_file(version, content))


RELEASE = ("release.json", msgspec.json.encode(build("1.1.0")))


def link(name, kind, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def device(name):
    member = tarfile.TarInfo(name)
    member.type = tarfile.CHRTYPE
    return member, b""


HOSTILE = {
    "wrong hash": (refuse_hash, "hash"),
    "truncated": (refuse_truncated, "length"),
    "too long": (refuse_longer, "length"),
    "downgrade": (refuse_downgrade, "downgrade"),
    "replay of an old release": (refuse_replay, "downgrade"),
    "the same version, another archive": (refuse_fork, "fork"),
    "a path that leads out": (
        lambda unit: signed_tar(unit, RELEASE, ("lib/../../../evil", b"x")), "member",
    ),
    "an absolute path": (lambda unit: signed_tar(unit, RELEASE, ("/etc/evil", b"x")), "member"),
    "a path beside the folders": (
        lambda unit: signed_tar(unit, RELEASE, ("bin/sh", b"")), "member",
    ),
    "a symbolic link": (
        lambda unit: signed_tar(unit, RELEASE, link("lib/x", tarfile.SYMTYPE, "/etc")),
        "member",
    ),
    "a hard link": (
        lambda unit: signed_tar(unit, RELEASE, link("lib/x", tarfile.LNKTYPE, "release.json")),
        "member",
    ),
    "a device": (lambda unit: signed_tar(unit, RELEASE, device("lib/x")), "member"),
    "a file twice": (
        lambda unit: signed_tar(unit, RELEASE, ("lib/x", b"1"), ("lib/x", b"2")), "member",
    ),
    "a file as a folder": (
        lambda unit: signed_tar(unit, RELEASE, ("lib/x", b"1"), ("lib/x/y", b"2")), "member",
    ),
    "a name that steers a screen": (
        lambda unit: signed_tar(unit, RELEASE, ("lib/\x1b[2J", b"")), "member",
    ),
    "no build": (lambda unit: signed_tar(unit, ("lib/x", b"1")), "member"),
    "another version inside": (
        lambda unit: signed_tar(
            unit, ("release.json", msgspec.json.encode(build("1.1.1"))), ("lib/x", b"1")
        ),
        "build",
    ),
    "a build that is none": (lambda unit: signed_tar(unit, ("release.json", b"{}")), "build"),
    "no application": (lambda unit: signed_tar(unit, RELEASE), "models"),
    "other models": (lambda unit: unit.bring("1.1.0", manifest=b"others"), "models"),
    "an application that does not start": (
        lambda unit: unit.bring("1.1.0", code="raise SystemExit('no')\n"), "does-not-run",
    ),
    "an application with a slip": (
        lambda unit: unit.bring("1.1.0", code="this is no Python\n"), "does-not-run",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attack", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_refused_changes_nothing_that_runs(unit, attack, reason):
    unit.install("1.0.0")
    decision = attack(unit)
    before = (unit.running(), unit.link("good"), unit.link("current"), unit.manager.restarted)
    with pytest.raises(UpdateError) as found:
        unit.begin(decision)
    assert found.value.reason == reason
    now = (unit.running(), unit.link("good"), unit.link("current"), unit.manager.restarted)
    assert now == before
    assert unit.last() == ("refused", reason)
    assert not (unit.folder / "application/archive").exists()
    outside = {path.name for path in unit.folder.iterdir()}
    assert "evil" not in outside


def test_a_release_that_nobody_signed_is_no_release(unit):
    """Its hash stands in the signed targets: another file in its place is refused by the bundle."""
    bundle = draft(1).but(application=release_file("1.0.0", b"x")).signed()
    files = msgspec.structs.replace(bundle.files, application=release_file("1.0.0", b"y"))
    with pytest.raises(IntegrityError, match=r"application.json is not the file that was signed"):
        take(msgspec.structs.replace(bundle, files=files))


@pytest.mark.parametrize("given", [b"", release_file("1.0.0", b"x")], ids=["taken out", "put in"])
def test_a_release_is_neither_taken_out_nor_put_in(given):
    signed = b"" if given else release_file("1.0.0", b"x")
    bundle = draft(1).but(application=signed).signed()
    files = msgspec.structs.replace(bundle.files, application=given)
    with pytest.raises(IntegrityError, match="holds other files than were signed"):
        take(msgspec.structs.replace(bundle, files=files))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.0"},
        {"version": "1.0.0-rc1"},
        {"version": "01.0.0"},
        {"length": 0},
        {"length": 268_435_457},
        {"machine": "mips"},
        {"python": "3.13/../.."},
        {"sha256": "00"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_release_has_one_form(change):
    fields = json.loads(release_file("1.0.0", b"x"))
    inside = fields if "version" in change else fields["archives"][0]
    inside.update(change)
    with pytest.raises(IntegrityError, match="expected a version and its archives"):
        parse_release(json.dumps(fields).encode(), place="application.json")


def test_two_archives_for_one_kind_of_machine_are_refused():
    fields = json.loads(release_file("1.0.0", b"x"))
    fields["archives"] *= 2
    with pytest.raises(IntegrityError, match="two archives"):
        parse_release(json.dumps(fields).encode(), place="application.json")


def test_an_archive_that_unpacks_to_more_than_an_application_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.cli.update_archive.UNPACKED_LIMIT_BYTES", 1 << 20)
    (tmp_path / "bomb").write_bytes(make_tar([RELEASE, ("lib/zeros", bytes(1 << 21))]))
    with (tmp_path / "bomb").open("rb") as file, pytest.raises(UpdateError) as found:
        unpack(file, tmp_path / "out", build=build("1.1.0"))
    assert found.value.reason == "size"
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) < 1 << 21


def test_more_files_than_an_application_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.cli.update_archive.FILES_LIMIT", 3)
    members = [RELEASE, *((f"lib/{number}", b"") for number in range(3))]
    (tmp_path / "many").write_bytes(make_tar(members))
    with (tmp_path / "many").open("rb") as file, pytest.raises(UpdateError, match="more than 3"):
        unpack(file, tmp_path / "out", build=build("1.1.0"))


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_any_cut_of_an_archive_is_damage(tmp_path, cut):
    content = make_tar([RELEASE, ("lib/x", bytes(3000))])[:-1]
    (tmp_path / "cut").write_bytes(content[: min(cut, len(content))])
    with (tmp_path / "cut").open("rb") as file, pytest.raises(UpdateError):
        unpack(file, tmp_path / "out", build=build("1.1.0"))


def test_without_room_nothing_is_begun(tmp_path):
    with pytest.raises(UpdateError, match="make room"):
        require_room(tmp_path, 1 << 60)


def test_a_link_in_the_place_of_the_archive_is_not_followed(unit):
    decision = unit.bring("1.0.0")
    unit.arriving.rename(unit.folder / "elsewhere")
    unit.arriving.symlink_to(unit.folder / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        unit.begin(decision)
    assert unit.running() == "package"


def test_a_state_that_is_damaged_stops_updates_and_nothing_else(unit):
    unit.install("1.0.0")
    (unit.folder / "application/state.json").write_text("{")
    with pytest.raises(IntegrityError, match="install the package again"):
        unit.begin(unit.bring("1.1.0"))
    assert unit.running() == "1.0.0"


def test_the_same_folder_gives_the_same_archive(tmp_path):
    one = make_archive(tmp_path, "1.0.0").read_bytes()
    (tmp_path / "again").mkdir()
    assert make_archive(tmp_path / "again", "1.0.0").read_bytes() == one
    assert read_build(tmp_path / "1.0.0.tar.zst") == build("1.0.0")


def test_a_link_is_not_packed(tmp_path):
    make_archive(tmp_path, "1.0.0")
    tree = tmp_path / "tree-1.0.0"
    (tree / "lib/link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="plain files alone"):
        pack(tree, tmp_path / "out", build("1.0.0"))


def test_the_office_names_archives_and_nothing_else(tmp_path):
    path = make_archive(tmp_path, "1.0.0")
    release = parse_release(release_of([str(path)]), place="x")
    assert release == name_release("1.0.0", path.read_bytes())
    assert release_of(["none"]) == b""
    (tmp_path / "no").write_bytes(zstandard.compress(b"no archive"))
    with pytest.raises(ConfigError, match="homeplate update pack"):
        release_of([str(tmp_path / "no")])
    other = make_archive(tmp_path, "1.1.0")
    with pytest.raises(ConfigError, match="expected one version"):
        release_of([str(path), str(other)])


@pytest.mark.parametrize("text", ["", "1.0.0", "1.0.0:mips:3.13", "1.0:aarch64:3.13", "a:b:c:d"])
def test_a_build_that_is_none_packs_nothing(tmp_path, text, capsys):
    make_archive(tmp_path, "1.0.0")
    words = [str(tmp_path / "tree-1.0.0"), str(tmp_path / "out"), "--build", text]
    assert main(["update", "pack", *words]) == 78
    assert "expected for example" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_application_is_told(tmp_path, capsys):
    words = [str(tmp_path), str(tmp_path / "out"), "--build", "1.0.0:aarch64:3.13"]
    assert main(["update", "pack", *words]) == 78
    assert "no folder lib" in capsys.readouterr().err


def test_the_commands_pack_and_show(tmp_path, capsys):
    make_archive(tmp_path, "1.0.0")
    words = [str(tmp_path / "tree-1.0.0"), str(tmp_path / "out"), "--build", "1.0.0:aarch64:3.13"]
    assert main(["update", "pack", *words]) == 0
    assert sha256((tmp_path / "out").read_bytes()).hexdigest() in capsys.readouterr().out
    unit = Unit(tmp_path)
    unit.install("1.0.0")
    assert main(["update", "show", "--folder", str(tmp_path / "application")]) == 0
    assert "installed   1.0.0" in capsys.readouterr().out
    assert main(["update", "settle", "--folder", str(tmp_path / "application")]) == 0
    assert main(["update", "forget", "--folder", str(tmp_path / "application")]) == 0
    assert unit.running() == "package"
    assert f"installed   {__version__}, by the package" in tell(unit.slots.read())


FAILED = Sight(state="failed", start="3", beat="0")
WAITS = Sight(state="activating", start="2", beat="0")
FAILS = "homeplate-watch.service failed"


@pytest.mark.parametrize(
    ("sights", "verdict"),
    [
        pytest.param(beating(BEATS + 1), "", id="beats"),
        pytest.param([FAILED], FAILS, id="fails"),
        pytest.param(
            [*beating(BEATS), *beating(BEATS, start="2"), FAILED],
            FAILS,
            id="starts again and again",
        ),
        pytest.param(
            [*beating(BEATS), WAITS, *beating(BEATS + 1, start="2")],
            "",
            id="one restart, then whole",
        ),
    ],
)
def test_beats_of_one_start_are_the_proof(sights, verdict):
    assert prove(Manager(*sights), FakeClock(NOW)) == verdict


def test_a_service_that_hangs_is_no_proof():
    still = Sight(state="active", start="1", beat="7")
    assert "too few beats in 900 s" in prove(Manager(still), FakeClock(NOW))


def test_a_machine_that_shuts_down_decides_nothing(unit):
    assert prove(Manager(*beating(3)), FakeClock(NOW), stop=lambda: True) is None
    unit.begin(unit.bring("1.0.0"))
    assert finish(unit.slots, None, unit.clock, unit.manager).trial is not None


def test_the_memory_of_failures_and_steps_is_bounded():
    state = ApplicationState()
    for number in range(100):
        slot = Slot(name="a", version=f"1.0.{number}", sha256=f"{number:064x}")
        state = msgspec.structs.replace(state, trial=slot)
        state = fall_back(state, slot, at_ms=number, detail="x" * 500)
    assert (len(state.failed), len(state.steps), state.steps[-1].number) == (8, 32, 100)
    assert len(msgspec.json.encode(state)) < 65_536


def whole(slot: Path, tree: Path) -> bool:
    """Tell whether all files of a tree lie in a slot."""
    files = [path.relative_to(tree) for path in tree.rglob("*.*") if path.is_file()]
    return all((slot / name).read_bytes() == (tree / name).read_bytes() for name in files)


def cut_off(call: str, number: int, run: Callable[[], object]) -> bool:
    """Run something in a process that dies at its n-th call of a kind; tell whether it did."""
    pid = os.fork()
    if pid == 0:
        real, counter = getattr(os, call), itertools.count(1)

        def counted(*words, **options):
            if next(counter) == number:
                os._exit(9)
            return real(*words, **options)

        setattr(os, call, counted)
        try:
            run()
        except BaseException:  # noqa: BLE001 -- a copy of pytest must not live on
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in {0, 9}
    return code == 9


def live(unit):
    """Start the machine, install what came, and let it prove itself."""
    unit.slots.write(count_start(unit.slots.read(), at_ms=0))
    content = unit.arriving.read_bytes()
    unit.begin(take(draft(1).but(application=release_file("1.0.0", content)).signed()))
    finish(unit.slots, "", unit.clock, unit.manager)


@pytest.mark.custody
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("call", CUTS)
def test_a_power_cut_at_any_step_leaves_an_application_that_runs(tmp_path, call, capsys):
    first, content = tmp_path / "first", make_archive(tmp_path, "1.0.0").read_bytes()
    first.mkdir()
    Unit(first).install("0.9.9")
    for number in itertools.count(1):
        folder = shutil.copytree(first, tmp_path / "unit", symlinks=True)
        unit = Unit(folder)
        unit.arriving.write_bytes(content)
        if not cut_off(call, number, lambda unit=unit: live(unit)):
            break
        trees = {"0.9.9": first / "tree-0.9.9", "1.0.0": tmp_path / "tree-1.0.0"}
        assert whole(folder / "application/current", trees[unit.running()])
        live(unit)
        assert unit.running() == "1.0.0"
        assert unit.link("good") == unit.link("current")
        assert whole(folder / "application/current", trees["1.0.0"])
        assert read_state(folder / "application").trial is None
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\nan update cut off at each of {number - 1} {call}: all units ran on")  # noqa: T201 -- the count
    assert number > 3
