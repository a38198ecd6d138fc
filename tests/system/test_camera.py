"""`homeplate watch` with the real picamera2: a road on libcamera's virtual camera, no hardware.

In the Debian 13 root that `deploy/dev camera` builds, with the packages of the unit's image.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import av
import cv2
import pytest

from deploy.demo.city import UNIT, City, found_city, publish_policy
from tests.system.conftest import CLIP, python
from tests.system.container import IMAGE, ROOT, await_true

pytestmark = pytest.mark.system
CAMERA_ROOT = Path(os.environ.get("HOMEPLATE_CAMERA_ROOT") or ROOT / ".cache" / "camera-root")
FRAMES = 120
READS = 10
WORLD = "/tmp/world"  # noqa: S108  on a tmpfs of the root's own
SETTINGS = f"""
unit = "{UNIT}"
state_directory = "{WORLD}/unit/state"
policy = "{WORLD}/unit/policy.bundle"
root = "{WORLD}/unit/root.json"
exchange_directory = "{WORLD}/unit/run"
credentials = "{WORLD}/unit/credentials"
[camera]
source = "picamera2:0"
size_px = [1280, 720]
"""
CAMERA = f"""%YAML 1.1
---
"Virtual0":
  supported_formats:
  - {{width: 1280, height: 720, frame_rates: [30, 30]}}
  - {{width: 640, height: 360, frame_rates: [30, 30]}}
  frames: {{path: "{WORLD}/frames/"}}
  location: "CameraLocationFront"
  model: "Virtual Video Device"
"""
RUN = """
set -e
root=$1 world=$2 venv=$3 tree=$4
packages=$(cd "$venv" && echo lib/*/site-packages)
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mkdir "$root/tmp/world" "$root/tmp/venv" "$root/tmp/repo"
mount --bind "$world" "$root/tmp/world"
mount --bind -o ro "$venv" "$root/tmp/venv"
mount --bind -o ro "$tree" "$root/tmp/repo"
mount --bind "$world/camera.yaml" "$root/usr/share/libcamera/pipeline/virtual/virtual.yaml"
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
  LD_PRELOAD=/opt/dma_heap_shim.so LIBCAMERA_LOG_LEVELS='*:ERROR' \
  PYTHONPATH="/tmp/repo:/tmp/repo/tests/camera/virtual/stubs:/opt/site:/tmp/venv/$packages" \
  python3 /tmp/repo/tests/camera/virtual/watch.py --config /tmp/world/unit/unit.toml
"""


@pytest.fixture
def city(tmp_path) -> City:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (CAMERA_ROOT / "opt" / "site").is_dir():
        pytest.skip(f"no root with picamera2 at {CAMERA_ROOT}: `deploy/dev camera` builds one")
    if not (IMAGE / "usr/lib/homeplate/venv").is_dir():
        pytest.skip(f"no image at {IMAGE}; see tests/system/README.md")
    city = found_city(tmp_path / "world")
    publish_policy(city, port=8443)
    city.unit_settings.write_text(SETTINGS)
    (city.root / "camera.yaml").write_text(CAMERA)
    (city.root / "frames").mkdir()
    with av.open(str(CLIP)) as clip:
        for number, frame in zip(range(FRAMES), clip.decode(video=0), strict=False):
            cv2.imwrite(str(city.root / f"frames/{number}.jpg"), frame.to_ndarray(format="bgr24"))
    return city


def start(city: City) -> subprocess.Popen[bytes]:
    venv = IMAGE / "usr/lib/homeplate/venv"
    words = ("unshare", "--mount", "--propagation", "private", "bash", "-c", RUN)
    with (city.root / "watch.log").open("wb") as log:
        return subprocess.Popen(
            [*words, "camera", CAMERA_ROOT, city.root, venv, ROOT],
            stdout=subprocess.PIPE,
            stderr=log,
        )


def test_the_watcher_reads_a_road_through_picamera2(city):
    health = city.unit / "run" / "watch.health"
    began = time.monotonic()
    process = start(city)

    def sealed() -> int:
        assert process.poll() is None, (city.root / "watch.log").read_text()[-2000:]
        return json.loads(health.read_bytes())["counters"]["sealed"] if health.exists() else 0

    try:
        await_true(lambda: sealed() >= READS, f"{READS} reads are sealed")
    finally:
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (city.root / "watch.log").read_text()[-2000:]
    counters = json.loads(told.splitlines()[-1])
    opened = python(
        "-m", "agent", "open", city.unit / "state/spool", "--key", city.opening_key, "--json"
    )
    items = [json.loads(line) for line in opened.splitlines() if line.startswith("{")]
    reads = [item for item in items if item["kind"] == "read"]
    plates = {item["text"] for item in reads if not item["abstained"]}
    truth = {
        json.loads(line)["text"]
        for line in CLIP.with_suffix(".truth.jsonl").read_text().splitlines()
    }
    print(
        f"{counters['frames']} frames in {time.monotonic() - began:.0f} s, "
        f"{counters['frames_looked']} looked at, {len(reads)} vehicles read and sealed, "
        f"{len(plates)} plates, {len(plates & truth)} of them in the clip's truth"
    )
    assert len(reads) == counters["sealed"] >= READS
    # The virtual camera gives frames as fast as they are taken: vehicles leap, some are misread.
    assert len(plates & truth) > 2 * len(plates - truth)
