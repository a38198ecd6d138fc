"""The package for the Raspberry Pi, run by an emulated one: it reads what this machine reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.container import ROOT

pytestmark = pytest.mark.system
ARM64 = Path(os.environ.get("HOMEPLATE_ARM64", ROOT / "dist" / "arm64"))
"""Made by `deploy/image/arm64`."""
CLIP = ROOT / "tests" / "data" / "demo.mp4"
FRAMES = 45
"""The emulated processor takes seconds a frame."""
LIMIT_S = 3000


@pytest.fixture
def arm64():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (ARM64 / "usr/bin/homeplate").exists():
        pytest.skip(f"no arm64 root at {ARM64}; see tests/system/README.md")
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64-static is not installed (Debian: qemu-user-static)")
    return ARM64


def read_clip(*command: str, **environment: str) -> list[dict[str, object]]:
    run = subprocess.run(
        [*command, str(FRAMES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", **environment},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_an_emulated_raspberry_pi_reads_the_same(arm64):
    for path in (CLIP, ROOT / "tests" / "system" / "reads.py"):
        shutil.copy(path, arm64 / "opt" / path.name)
    there = read_clip(
        "chroot", str(arm64), "/usr/lib/homeplate/venv/bin/python3", "-I", "/opt/reads.py",
        "/opt/demo.mp4", QEMU_CPU="cortex-a72",
    )  # fmt: skip
    here = read_clip(
        sys.executable, str(ROOT / "tests/system/reads.py"), str(CLIP), PYTHONPATH=str(ROOT)
    )
    print(f"{len(here)} vehicles in {FRAMES} frames, the same on both")
    assert here
    assert there == here
