"""Signed updates, pulled by a booted unit from the city: one that works, one that does not."""

import json
import os
import shutil
from pathlib import Path

import pytest

from agent import __version__
from agent.cli.update_archive import pack
from agent.cli.update_release import release_of
from agent.trust.release import Build
from deploy.demo.city import publish_policy
from tests.system.conftest import World
from tests.system.container import IMAGE, await_true

pytestmark = pytest.mark.system
VENV = IMAGE / "usr/lib/homeplate/venv"
FIRST, SECOND = ("0.1.1", "0.1.2")
BROKEN = "def add_arguments(parser):\n    raise SystemExit(1)\n"
LIMIT_S = 600.0


def make_tree(folder: Path, version: str) -> Path:
    """Return the image's application under another version; files are shared, not copied."""
    tree = folder / version
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("lib", "share"):
        shutil.copytree(VENV / name, tree / name, copy_function=os.link, ignore=skip)
    replace_text(next(tree.glob("lib/*/site-packages/agent/__init__.py")), __version__, version)
    return tree


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.unlink()  # it is shared
    path.write_text(text.replace(old, new))


def publish(world: World, tree: Path, version: str) -> None:
    """Pack an application, lay it at the endpoint, and let two offices sign that units take it."""
    (python,) = (path.name.removeprefix("python") for path in (tree / "lib").iterdir())
    build = Build(version=version, machine="x86_64", python=python)
    folder = world.city.endpoint / "applications"
    folder.mkdir(exist_ok=True)
    path = folder / f"homeplate-{version}-x86_64-py{python}.tar.zst"
    pack(tree, path, build)
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB")
    port = world.city.book.read_draft()["endpoint"]["port"]
    publish_policy(world.city, port=port, application=release_of([str(path)]))


def shown(world: World) -> str:
    return world.machine.run("homeplate", "update", "show", check=False)


def sending_version(world: World) -> str:
    content = world.machine.run("cat", "/run/homeplate/send.health", check=False)
    return json.loads(content)["facts"]["version"] if content.startswith("{") else ""


def test_a_signed_update_is_pulled_tried_and_kept(world, tmp_path):
    world.play()
    publish(world, make_tree(tmp_path, FIRST), FIRST)
    await_true(lambda: f"proven      {FIRST}" in shown(world), "it is proven", limit_s=LIMIT_S)
    print(shown(world))
    assert sending_version(world) == FIRST
    sent = world.sender()["frames_uploaded"]
    await_true(lambda: world.sender()["frames_uploaded"] > sent, "the new sender sends")
    owner = world.machine.run("stat", "-L", "-c", "%U %a", "/var/lib/homeplate/application/current")
    assert owner.split() == ["root", "755"]


def test_an_update_that_does_not_watch_falls_back_by_itself(world, tmp_path):
    tree = make_tree(tmp_path, SECOND)
    watch = next(tree.glob("lib/*/site-packages/agent/cli/watch.py"))
    watch.unlink()
    watch.write_text(BROKEN)
    publish(world, tree, SECOND)
    await_true(lambda: f"fallen-back {SECOND}" in shown(world), "it falls back", limit_s=LIMIT_S)
    print(shown(world))
    await_true(lambda: sending_version(world) == FIRST, "the one before runs again")
    world.play()
    assert "told to reboot" not in world.machine.journal("--unit", "homeplate-reboot@*")


def test_all_of_it_stands_in_the_senders_log(world):
    await_true(
        lambda: "fallen-back" in world.machine.journal("--unit", "homeplate-send"), "it is told"
    )
    told = [
        json.loads(line)["detail"]
        for line in world.machine.journal("--unit", "homeplate-send").splitlines()
        if '"event": "update"' in line
    ]
    print("\n".join(told))
    assert [line.split(":")[0] for line in told] == [
        "fetched", "switched", "proven", "fetched", "switched", "fallen-back",
    ]  # fmt: skip
    judged = world.audit()
    assert "RESULT       PASS" in judged
