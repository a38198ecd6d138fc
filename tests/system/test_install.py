"""deploy/docs/install.md, followed word for word, from an empty Debian 13 to receipts."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.system import container
from tests.system.conftest import UNIT, World, make_world, python
from tests.system.container import ROOT, await_true, why_not

pytestmark = pytest.mark.system
PAGE = ROOT / "deploy" / "docs" / "install.md"
EMPTY = Path(os.environ.get("HOMEPLATE_EMPTY", ROOT / "dist" / "empty"))
"""Made by `deploy/image/build` without a package."""
PACKAGE = Path(os.environ.get("HOMEPLATE_PACKAGE", ROOT / "dist" / "homeplate_0.1.0_amd64.deb"))


def read_page() -> list[tuple[str, str]]:
    """Return the page's commands: where, and one line."""
    found = []
    for place, block in re.findall(r"```sh (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        found += [(place, line.strip()) for line in block.splitlines() if line.strip()]
    return found


@pytest.fixture
def world(monkeypatch):
    reason = why_not()
    if not reason and not (EMPTY / "usr/bin/apt-get").exists():
        reason = f"no empty system at {EMPTY}; see tests/system/README.md"
    if not reason and not PACKAGE.exists():
        reason = f"no package at {PACKAGE}"
    if reason:
        pytest.skip(reason)
    monkeypatch.setattr(container, "IMAGE", EMPTY)
    folder = Path(tempfile.mkdtemp(prefix="homeplate-install-"))
    try:
        with make_world(folder, flashed=False) as made:
            made.network.plug_in()
            yield made
            made.machine.switch_off()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_the_office(world: World, line: str) -> str:
    """Run a line of the page, in the place of its paths those of this city."""
    program, *words = line.split()
    given = {
        "bundles/pole-0001": str(world.folder / "bundle"),
        "/media/you/bootfs": str(world.machine.path("/boot/firmware/config.txt").parent),
        "endpoint/endpoint.toml": str(world.city.endpoint_config),
    }
    module = {"homeplate": "agent", "homeplate-endpoint": "homeplate_endpoint"}[program]
    return python("-m", module, *(given.get(word, word) for word in words))


def on_the_unit(world: World, line: str) -> str:
    """Run a line of the page as root; the package is that of this machine's processor."""
    if line == "systemctl reboot":
        world.machine.reboot()
        await_true(lambda: world.sender().get("frames_uploaded", 0) > 0, "the first receipt")
        return ""
    return world.machine.run("sh", "-c", f"cd /root; {line.replace('_arm64', '_amd64')}")


def test_the_page_leads_to_a_unit_that_uploads(world):
    shutil.copy(PACKAGE, world.machine.path(f"/root/{PACKAGE.name}"))
    said = {}
    for place, line in read_page():
        if place == "unit" and not world.machine.leader:
            world.machine.switch_on()
        said[line] = (in_the_office if place == "office" else on_the_unit)(world, line)
        print(f"$ {line}\n{said[line]}")
    told = list(said.values())
    assert "8 files read back" in told[0]
    verified = said["homeplate models verify"].splitlines()
    assert [line.split()[0] for line in verified if line.endswith(" ok")] == ["detector", "reader"]
    checked = said["homeplate check || true"]
    assert re.search(r"✓ HP-303.*\n.*✓ HP-304", checked) is not None
    assert re.search(rf"{UNIT}\s+active", told[-1])
    assert told[-2].split() == ["active"] * 3
    assert world.received()


def test_the_page_has_its_commands_in_order():
    places = [place for place, _ in read_page()]
    assert places == ["office", *["unit"] * 6, "office"]
