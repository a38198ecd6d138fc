"""The contract of picamera2, asked of the real one, where its Debian 13 root has been built."""

import os
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "virtual" / "run"
ROOT = Path(
    os.environ.get("HOMEPLATE_CAMERA_ROOT") or Path(__file__).parents[2] / ".cache" / "camera-root"
)
CANNOT = 77


@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT / "opt" / "site").is_dir(),
    reason="no Debian 13 root with picamera2: `deploy/dev camera` builds one",
)
def test_real_picamera2_keeps_the_contract_of_the_simulator():
    done = subprocess.run([RUN, "-q"], capture_output=True, text=True, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
