"""`deploy/dev` says clearly what it can do and what it misses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "dirname", "cat", "cut", "sha256sum")


def dev(*arguments, script=ROOT / "deploy/dev", **environment):
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def bare(tmp_path):
    """A copy of the script with the lock, where nothing but a shell is installed."""
    for name in ("deploy/dev", "deploy/locks/dev.txt", "pyproject.toml"):
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    (tmp_path / "copy/deploy/endpoint").mkdir()
    shutil.copy(ROOT / "deploy/endpoint/pyproject.toml", tmp_path / "copy/deploy/endpoint")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def put_python(folder, body):
    program = folder / "bin" / "python3"
    program.write_text(f"#!{folder}/bin/bash\n{body}\n")
    program.chmod(0o755)


def run_bare(bare, command):
    return dev(command, script=bare / "copy/deploy/dev", PATH=str(bare / "bin"), PYTHON="")


def test_help_names_every_command():
    shown = dev("help").stdout
    assert all(f"  {name} " in shown for name in ("setup", "demo", "test", "check", "bench"))


@pytest.mark.parametrize("arguments", [(), ("share",)], ids=["none", "unknown"])
def test_a_wrong_call_shows_the_usage(arguments):
    run = dev(*arguments)
    assert run.returncode == 78
    assert "usage: deploy/dev" in run.stderr


def test_without_python_it_says_what_to_install(bare):
    run = run_bare(bare, "setup")
    assert run.returncode == 78
    assert "python3 >= 3.11 not found" in run.stderr
    assert "apt install python3" in run.stderr


def test_an_old_python_is_told(bare):
    put_python(bare, '[[ $1 == --version ]] && echo "Python 3.9.2" && exit 0; exit 1')
    run = run_bare(bare, "setup")
    assert run.returncode == 78
    assert "found: Python 3.9.2" in run.stderr


def test_a_python_without_venv_is_told(bare):
    put_python(bare, "[[ $2 == *ensurepip* ]] && exit 1; exit 0")
    run = run_bare(bare, "setup")
    assert run.returncode == 78
    assert "apt install python3-venv" in run.stderr


def put_venv(folder, *, made_in, pip):
    """A .venv as `python -m venv` leaves it, whose set-up had ended."""
    place = folder / "copy/.venv"
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").write_text(f"command = /usr/bin/python3 -m venv {made_in}/.venv\n")
    (place / "bin/python").write_text(f"#!{folder}/bin/bash\nexit {0 if pip else 1}\n")
    (place / "bin/python").chmod(0o755)


@pytest.mark.parametrize(
    ("made_in", "pip", "anew"),
    [("copy", True, False), ("elsewhere", True, True), ("copy", False, True)],
    ids=["usable", "moved", "broken off"],
)
def test_a_set_up_that_is_of_no_use_is_made_anew(bare, made_in, pip, anew):
    put_venv(bare, made_in=bare / made_in, pip=pip)
    put_python(bare, '[[ "$*" == *venv\\ --clear* ]] && echo "made anew"; exit 0')
    assert ("made anew" in run_bare(bare, "setup").stdout) == anew


def test_the_locks_carry_hashes_and_no_address():
    for name in ("unit.txt", "dev.txt"):
        text = (ROOT / "deploy/locks" / name).read_text()
        packages = [line for line in text.splitlines() if line[:1].isalnum()]
        assert packages
        assert all(line.endswith("\\") for line in packages)
        assert "://" not in text
