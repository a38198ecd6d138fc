"""Small applications, as archives: real packages of Python, with no cameras in them."""

import platform
import tarfile
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import zstandard

from agent.cli.update_archive import pack
from agent.cli.update_install import PYTHON
from agent.trust.release import Archive, Build, Release, encode_release

MACHINE = platform.machine()
RUNS = "import sys\nsys.exit(0 if sys.argv[1:] == ['models', 'verify'] else 1)\n"
MANIFEST = b"the manifest of the models"
"""That of tests/policies.py."""
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def build(version: str) -> Build:
    """Return what an archive for this machine is for."""
    return Build(version=version, machine=MACHINE, python=PYTHON)


def make_archive(
    folder: Path, version: str, *, code: str = RUNS, manifest: bytes = MANIFEST
) -> Path:
    """Pack an application that says yes to `models verify`, unless other code is given."""
    tree = folder / f"tree-{version}"
    package = tree / "lib" / f"python{PYTHON}" / "site-packages" / "agent"
    models = tree / "share/homeplate/models"
    for path in (package, models):
        path.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (package / "__main__.py").write_text(code)
    (models / "manifest.toml").write_bytes(manifest)
    out = folder / f"{version}.tar.zst"
    pack(tree, out, build(version))
    return out


def make_tar(members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """Return any tar under zstd, also one that `pack` would not make."""
    return zstandard.compress(tar_of(members))


def tar_of(members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """Return any tar."""
    plain = BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item, content in members:
            member = tarfile.TarInfo(item) if isinstance(item, str) else item
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return plain.getvalue()


def name_release(version: str, content: bytes, **changes: object) -> Release:
    """Return the release that names one archive for this machine."""
    facts: dict[str, object] = {
        "machine": MACHINE,
        "python": PYTHON,
        "length": len(content),
        "sha256": sha256(content).hexdigest(),
    }
    return Release(version=version, archives=(Archive(**facts | changes),))  # type: ignore[arg-type]


def release_file(version: str, content: bytes, **changes: object) -> bytes:
    """Return the signed file that names it."""
    return encode_release(name_release(version, content, **changes))
