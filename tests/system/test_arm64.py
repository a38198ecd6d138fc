"""The package for the Raspberry Pi, run by an emulated one: it reads what this machine reads."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.container import ROOT

pytestmark = pytest.mark.system
ARM64 = Path(os.environ.get("HOMEPLATE_ARM64", ROOT / "dist" / "arm64"))
"""Made by `deploy/image/arm64`."""
CLIP = ROOT / "tests" / "data" / "demo.mp4"
SAME = (
    "text",
    "abstained",
    "frames_seen",
    "frames_agreed",
    "first_frame",
    "last_frame",
    "direction",
)
FRAMES = 60
"""The emulated processor takes seconds a frame."""
LIMIT_S = 3000


@pytest.fixture
def arm64():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (ARM64 / "usr/lib/homeplate/venv").exists():
        pytest.skip(f"no arm64 root at {ARM64}; see tests/system/README.md")
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64-static is not installed (Debian: qemu-user-static)")
    return ARM64


def read_clip(report: Path, *command: str, **environment: str) -> list[dict[str, object]]:
    """Return what `homeplate bench video` read; its times mean nothing here."""
    run = subprocess.run(
        [*command, "--max-frames", str(FRAMES), "--vehicles"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", **environment},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    reads = json.loads(report.read_text())["clips"][0]["reads"]
    return [{name: read[name] for name in SAME} for read in reads]


def test_an_emulated_raspberry_pi_reads_the_same(arm64, tmp_path):
    shutil.copy(CLIP, arm64 / "opt" / CLIP.name)
    began = time.monotonic()
    there = read_clip(
        arm64 / "opt/report.json",
        "chroot", str(arm64), "/usr/lib/homeplate/venv/bin/python3", "-I", "-m", "agent",
        "bench", "video", f"/opt/{CLIP.name}", "--json", "/opt/report.json", QEMU_CPU="cortex-a72",
    )  # fmt: skip
    took_s = time.monotonic() - began
    report = tmp_path / "report.json"
    here = read_clip(
        report,
        sys.executable, "-m", "agent", "bench", "video", str(CLIP), "--json", str(report),
        PYTHONPATH=str(ROOT),
    )  # fmt: skip
    print(f"{len(here)} vehicles in {FRAMES} frames, the same on both; emulated in {took_s:.0f} s")
    assert here
    assert there == here
