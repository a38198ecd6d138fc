"""Gathers the wheels of a unit for another machine than this one, by the hashes of the lock.

pip judges the lock's markers by the Python that runs it, so the lines for the unit's Python and
processor are picked here; pip then takes nothing whose hash does not stand in them.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "deploy" / "locks" / "unit.txt"
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
GLIBC = (34, 31, 28, 27, 24, 17, 12, 5)
"""Minor versions of manylinux tags; Debian 12 has 2.36, Debian 13 has 2.41."""
LINE = re.compile(r"(?ms)^(?P<name>[a-zA-Z0-9_.-]+==\S+)(?: ; (?P<marker>[^\\\n]+))?.*?(?=^\S|\Z)")


def main() -> int:
    """Fill a folder with wheels, the requirements they fulfil, and their hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architecture", choices=sorted(MACHINES))
    parser.add_argument("python", choices=("3.11", "3.13"))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for old in args.folder.glob("*.whl"):
        old.unlink()
    requirements = args.folder / "requirements.txt"
    requirements.write_text(pick(LOCK.read_text(), args.python, MACHINES[args.architecture]))
    download(args.folder, requirements, args.python, args.architecture)
    build_own(args.folder)
    wheels = sorted(args.folder.glob("*.whl"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in wheels]
    (args.folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    size_mb = sum(path.stat().st_size for path in wheels) / 1e6
    print(f"{args.folder}: {len(wheels)} wheels, {size_mb:.1f} MB")
    return 0


def pick(lock: str, python: str, machine: str) -> str:
    """Return the lines of a lock that are for one Python on one machine, without markers."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    picked = []
    for found in LINE.finditer(lock):
        marker = found["marker"]
        if marker is None or Marker(marker).evaluate(environment):
            text = found[0] if marker is None else found[0].replace(f" ; {marker}", " ", 1)
            picked.append(text)
    return "".join(picked)


def download(folder: Path, requirements: Path, python: str, architecture: str) -> None:
    """Let pip fetch the wheels; each must have a hash of the lock."""
    machine, digits = MACHINES[architecture], python.replace(".", "")
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
    platforms += [f"manylinux2014_{machine}", "any"]
    options = [word for name in platforms for word in ("--platform", name)]
    for abi in (f"cp{digits}", "abi3", "none"):
        options += ["--abi", abi]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--implementation", "cp"]
    command += ["--python-version", python, *options]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    subprocess.run(command, check=True)


def build_own(folder: Path) -> None:
    """Build our own wheel beside the others."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
