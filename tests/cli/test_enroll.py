"""From a bundle to an enrolled unit: commands, files and power cuts, with a real endpoint."""

import itertools
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from agent.cli import main
from agent.cli.unit_bundle import parse_token
from agent.trust.enrolment import read_certificate
from agent.trust.keys import load_signer
from tests.certificates import issue_for, make_authority
from tests.cli.test_flash import Image, Mounted, needs_mtools
from tests.endpoint.city import run_endpoint, serving
from tests.founded import ROOT, found, homeplate, unit_settings

pytestmark = pytest.mark.slow
NAMES = (f"unit-{number:04}" for number in itertools.count(1))
KEYS = ("watch.key", "send.key", "tls.key")


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A city with a published policy, whose endpoint serves all tests of this module."""
    city = found(tmp_path_factory.mktemp("city"))
    with serving(city) as running:
        city.publish(running.port)
        yield city


class Unit:
    """A unit that was added at the office: its bundle, and the folder that stands for its disk."""

    def __init__(self, city, folder, name=None):
        self.name = name or next(NAMES)
        self.folder = folder / self.name
        self.bundle = self.folder / "bundle"
        self.config = self.folder / "etc/unit.toml"
        self.credentials = self.folder / "etc/credentials"
        self.folder.mkdir()
        settings = self.folder / "site.toml"
        settings.write_text(unit_settings(self.folder, self.name))
        (self.folder / "state").mkdir()
        self.added = self.add(city, self.bundle)

    def add(self, city, out, *words):
        """Make a bundle for it at the office."""
        return main(
            ["unit", "add", self.name, *words,
             "--policy", str(city.policy), "--root", str(city.root),
             "--tickets", str(city.folder / "tickets"), "--out", str(out),
             "--settings", str(self.folder / "site.toml")]
        )  # fmt: skip

    def enroll(self, source=None):
        return main(["enroll", "--config", str(self.config), "--from", str(source or self.boot)])

    @property
    def boot(self):
        """What the unit finds on its boot partition: a copy of the bundle, as `flash` writes it."""
        place = self.folder / "boot"
        if not place.exists():
            shutil.copytree(self.bundle, place)
        return place

    def secrets(self):
        """Return the numbers that nobody else may know: three private keys."""
        return {name: private_number(self.credentials / name) for name in KEYS}


def private_number(path):
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    return key.private_numbers().private_value.to_bytes(32, "big")


@pytest.fixture
def unit(city, tmp_path):
    unit = Unit(city, tmp_path)
    assert unit.added == 0
    return unit


def refused(capsys, *words):
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert all(word in said for word in words), said
    return True


def test_a_unit_makes_its_keys_and_is_enrolled(unit, capsys):
    assert unit.enroll() == 0
    assert f"{unit.name}: enrolled" in capsys.readouterr().out
    certificate = read_certificate((unit.credentials / "tls.crt").read_bytes(), place="test")
    assert certificate.unit == unit.name
    assert certificate.ends - datetime.now(UTC) > timedelta(days=29)


def test_keys_and_certificate_are_for_their_owner_alone(unit):
    unit.enroll()
    assert unit.credentials.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in unit.credentials.iterdir()} == {*KEYS, "tls.crt"}
    assert {path.stat().st_mode & 0o777 for path in unit.credentials.iterdir()} == {0o600}


def test_the_token_is_wiped(unit):
    token_file = (unit.bundle / "enrol.token").read_bytes()
    token = parse_token(token_file, place="test")
    (unit.boot.parent / "watched").hardlink_to(unit.boot / "enrol.token")
    unit.enroll()
    assert not (unit.boot / "enrol.token").exists()
    overwritten = (unit.boot.parent / "watched").read_bytes()
    assert overwritten == bytes(len(token_file))
    left = (path.read_bytes() for path in unit.boot.rglob("*") if path.is_file())
    assert not any(token in content for content in left)


def test_enrolling_again_changes_nothing_and_asks_nobody(unit, capsys):
    unit.enroll()
    before = {path.name: path.read_bytes() for path in unit.credentials.iterdir()}
    stopped = unit.folder / "etc/policy.bundle"
    stopped.rename(stopped.with_suffix(".away"))  # without it there is nobody to ask
    capsys.readouterr()
    assert unit.enroll() == 0
    assert f"{unit.name}: is enrolled already" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in unit.credentials.iterdir()} == before


def test_a_slip_in_from_is_told_as_one(unit, capsys):
    assert unit.enroll(unit.folder / "bot") == 78
    assert refused(capsys, "--from", "bot: no bundle there", "with --again where the card")
    assert not unit.credentials.exists()


def put_certificate(unit, path, *, days):
    """Give the unit a certificate for its key that began and ends so many days from now."""
    key = load_signer(
        bytearray((unit.credentials / "tls.key").read_bytes()), place="test"
    ).public_key
    span = tuple(timedelta(days=number) for number in days)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(issue_for(make_authority(), unit.name, key.point, valid=span).pem)


def test_a_unit_that_renewed_its_certificate_is_enrolled(unit):
    unit.enroll()
    put_certificate(unit, unit.credentials / "tls.crt", days=(-60, -30))
    put_certificate(unit, unit.folder / "state/identity/tls.crt", days=(-10, 20))
    assert unit.enroll() == 0


def test_a_unit_whose_certificate_ended_enrols_again_with_its_keys(unit, city):
    unit.enroll()
    keys = unit.secrets()
    put_certificate(unit, unit.credentials / "tls.crt", days=(-90, -60))
    renewed = unit.folder / "state/identity/tls.crt"
    put_certificate(unit, renewed, days=(-60, -30))
    assert unit.enroll() == 77
    assert unit.add(city, unit.folder / "second", "--again") == 0
    shutil.copytree(unit.folder / "second", unit.boot, dirs_exist_ok=True)
    assert unit.enroll() == 0
    assert unit.secrets() == keys
    assert not renewed.exists()


def test_the_endpoint_holds_no_token_and_the_bundle_no_key(unit, city):
    token = (unit.bundle / "enrol.token").read_bytes().strip()
    raw = parse_token(token + b"\n", place="test")
    unit.enroll()
    held = [path.read_bytes() for path in city.folder.rglob("*") if path.is_file()]
    assert not any(token in content or raw in content for content in held)
    given = [path.read_bytes() for path in unit.bundle.iterdir()]
    assert not any(b"PRIVATE KEY" in content for content in given)


@needs_mtools
def test_two_units_flashed_from_one_image_share_no_secret(city, tmp_path):
    image = Image(tmp_path)
    units = [Unit(city, tmp_path), Unit(city, tmp_path)]
    found = []
    for unit in units:
        card = unit.folder / "card.img"
        shutil.copy(image.path, card)
        assert main(["flash", str(unit.bundle), str(card)]) == 0
        unit.boot.joinpath("enrol.token").unlink()
        subprocess.run(
            ["mcopy", "-n", "-s", "-o", "-i", f"{card}@@1048576", "::/homeplate", unit.folder],
            check=True,
        )
        token = parse_token((unit.bundle / "enrol.token").read_bytes(), place="test")
        assert unit.enroll(unit.folder / "homeplate") == 0
        secrets = {"enrol.token": token, **unit.secrets()}
        assert not any(secret in image.path.read_bytes() for secret in secrets.values())
        found.append(secrets)
    assert len({secret for secrets in found for secret in secrets.values()}) == 8
    first, second = ({run for value in part.values() for run in runs(value)} for part in found)
    assert first & second == set()


def runs(value, length=6):
    """Return all runs of bytes of a secret: not even a part may be shared."""
    return {value[at : at + length] for at in range(len(value) - length + 1)}


def test_one_bundle_on_two_cards_enrols_one_unit(unit, capsys):
    shutil.copytree(unit.boot, unit.folder / "twin")
    assert unit.enroll() == 0
    capsys.readouterr()
    unit.config.parent.rename(unit.folder / "etc of the first")  # another card, the same paths
    assert unit.enroll(unit.folder / "twin") == 76
    assert refused(capsys, "409 token-used", "make a new bundle")


def test_a_unit_without_a_token_is_told(unit, capsys):
    (unit.boot / "enrol.token").unlink()
    assert unit.enroll() == 77
    assert refused(capsys, "no token", "flash a new bundle")


@pytest.mark.parametrize("content", [b"", b"x\n", b"A" * 44, b"\xff" * 44, b"A" * 100_000])
def test_a_token_that_is_none_is_told(unit, capsys, content):
    (unit.boot / "enrol.token").write_bytes(content)
    assert unit.enroll() in (77, 78)
    assert refused(capsys, "enrol.token")


def test_a_policy_that_does_not_verify_asks_nobody(unit, city, capsys, tmp_path):
    other = found(tmp_path / "other")
    other.publish(9)
    unit.boot.joinpath("root.json").write_bytes(other.root.read_bytes())
    assert unit.enroll() == 65
    assert refused(capsys, "root.json", "make the bundle again")
    assert not unit.credentials.exists()


def test_a_city_that_is_not_reached_keeps_token_and_keys(city, tmp_path, capsys):
    far = found(tmp_path / "far")
    far.publish(9)
    unit = Unit(far, tmp_path)
    assert unit.enroll() == 75
    assert refused(capsys, "not reached")
    keys = unit.secrets()
    assert unit.enroll() == 75
    assert unit.secrets() == keys
    assert (unit.boot / "enrol.token").exists()


def test_another_units_bundle_does_not_touch_an_enrolled_unit(city, unit, tmp_path, capsys):
    unit.enroll()
    other = Unit(city, tmp_path)
    before = {path: path.read_bytes() for path in unit.config.parent.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert unit.enroll(other.boot) == 78
    assert refused(capsys, other.name, unit.name, "retire it first")
    after = {path: path.read_bytes() for path in unit.config.parent.rglob("*") if path.is_file()}
    assert after == before


def test_a_unit_with_neither_bundle_nor_settings_is_told(tmp_path, capsys):
    assert main(["enroll", "--config", str(tmp_path / "unit.toml")]) == 78
    assert refused(capsys, "/boot/firmware/homeplate: no bundle there", "unit.toml")


CUTS = ("fsync", "rename", "unlink")
"""System calls at which the power goes: between two of them nothing on the disk changes."""


def enroll_under(unit, *options, words=None):
    """Run a command, enrolment unless another is named, under strace."""
    command = ["strace", "-f", "-qq", *options, sys.executable, "-m", "agent"]
    words = words or ("enroll", "--config", unit.config, "--from", unit.boot)
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def cuts(make, words):
    """Yield units, made by `make`, on which a command was killed at each of its steps in turn."""
    for call in CUTS:
        for number in itertools.count(1):
            unit = make()
            kill = f"inject={call}:signal=KILL:when={number}"
            done = enroll_under(unit, "-o", "/dev/null", "-e", kill, words=words(unit))
            if done.returncode == 0:
                break
            yield unit


@pytest.mark.custody
def test_a_power_cut_at_any_step_leaves_a_unit_that_enrols(city, tmp_path, capsys):
    count = 0
    for unit in cuts(lambda: Unit(city, tmp_path), lambda _: None):
        keys = {name for name in KEYS if (unit.credentials / name).exists()}
        kept = {name: (unit.credentials / name).read_bytes() for name in keys}
        assert unit.enroll() == 0
        assert {name: (unit.credentials / name).read_bytes() for name in keys} == kept
        assert not (unit.boot / "enrol.token").exists()
        assert {path.stat().st_mode & 0o777 for path in unit.credentials.glob("*.*")} == {0o600}
        count += 1
        capsys.readouterr()
    assert count > 20
    with capsys.disabled():
        print(f"\nenrolment cut off at each of {count} steps: all units enrolled afterwards")  # noqa: T201 -- the count


def test_the_register_knows_the_units_log_keys(unit, city):
    unit.enroll()
    listed = run_endpoint("unit", "list", "--config", city.config)
    assert unit.name in listed.stdout


def add(city, tmp_path, *words):
    return main(
        ["unit", "add", *map(str, words), "--root", str(city.root),
         "--tickets", str(city.folder / "tickets"), "--out", str(tmp_path / "out")]
    )  # fmt: skip


def test_a_dry_run_makes_neither_bundle_nor_ticket(city, tmp_path, capsys):
    name = next(NAMES)
    words = (name, "--policy", city.policy, "--camera", "x.mp4", "--dry-run")
    assert add(city, tmp_path, *words) == 0
    assert "would be made" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert not (city.folder / "tickets" / f"{name}.ticket.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("Unit 1", "--camera", "x"), "as in unit-0001", id="name"),
        pytest.param(("../etc", "--camera", "x"), "as in unit-0001", id="path as a name"),
        pytest.param(("u", "--camera", "x", "--token-days", "0"), "1 to 90", id="days"),
        pytest.param(("u", "--camera", "x", "--address", "1.2.3"), "--address", id="address"),
        pytest.param(
            ("u", "--camera", "x", "--address", "192.0.2.7/24"), "--gateway", id="no gateway"
        ),
        pytest.param(("u", "--settings", "none.toml"), "none.toml", id="no settings"),
        pytest.param(
            ("u", "--settings", "deploy/unit.example.toml"), "expected u", id="another unit's"
        ),
    ],
)
def test_a_wrong_argument_makes_nothing(city, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(ROOT)
    assert add(city, tmp_path, *words, "--policy", city.policy) == 78
    assert refused(capsys, said)
    assert not (tmp_path / "out").exists()


def test_a_name_that_was_given_is_given_again_only_where_that_is_said(unit, city, capsys):
    unit.enroll()
    capsys.readouterr()
    second = unit.folder / "second"
    assert unit.add(city, second) == 78
    assert refused(capsys, f"the name {unit.name} was given before", "--again")
    assert not second.exists()
    assert unit.add(city, second, "--again") == 0
    assert (second / "bundle.json").exists()


def test_a_policy_for_other_units_makes_nothing(city, tmp_path, capsys):
    other = found(tmp_path / "other")
    other.publish(8443, units=["unit-9999"])
    assert add(other, tmp_path, "u", "--camera", "x", "--policy", other.policy) == 79
    assert refused(capsys, "$.units")


def test_a_fixed_address_stands_in_the_network_settings(city, tmp_path):
    words = ("--camera", "x", "--policy", city.policy)
    address = ("--address", "192.0.2.7/24", "--gateway", "192.0.2.1")
    assert add(city, tmp_path, next(NAMES), *words, *address) == 0
    text = (tmp_path / "out/network-config").read_text()
    assert 'addresses: ["192.0.2.7/24"]' in text
    assert "192.0.2.1" in text


def test_the_whole_way_by_its_commands(city, tmp_path):
    unit = Unit(city, tmp_path)
    card = Mounted(tmp_path)
    assert homeplate("flash", unit.bundle, card.path).returncode == 0
    done = homeplate("enroll", "--config", unit.config, "--from", card.path / "homeplate")
    assert done.returncode == 0, done.stderr
    assert "enrolled" in done.stdout
