"""The shape of the code: the road's order, one door out, one place for keys, small pieces."""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from agent.trust.bundle_files import encode_bundle
from tests.policies import draft, first_root

ROOT = Path(__file__).parent.parent
AGENT = ROOT / "agent"
MODULES = sorted(AGENT.rglob("*.py"))
ROAD = ("camera", "detect", "track", "read", "gate", "seal", "spool", "uplink", "audit")
NETWORK = {"socket", "ssl", "http", "urllib", "asyncio", "ftplib", "smtplib", "xmlrpc", "requests"}
NETWORK |= {"httpx", "urllib3", "aiohttp", "socketserver", "telnetlib", "imaplib", "poplib"}
FUNCTION_LIMIT_LINES = 60
MODULE_LIMIT_LINES = 400


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def first_places(text: str, patterns: dict[str, str]) -> list[int]:
    places = []
    for stage, pattern in patterns.items():
        match = re.search(pattern, text)
        assert match, f"{stage} not found by {pattern!r}"
        places.append(match.start())
    return places


def in_order(places: list[int]) -> bool:
    return all(one < other for one, other in pairwise(places))


def test_the_docstring_of_the_package_states_the_road():
    docstring = ast.get_docstring(ast.parse((AGENT / "__init__.py").read_text())) or ""
    assert " → ".join(ROAD) in docstring


def test_every_stage_is_a_module_of_its_own():
    for stage in ROAD:
        assert (AGENT / f"{stage}.py").exists() or (AGENT / stage / "__init__.py").exists(), stage


CALLS = {
    "watch.py": {
        "camera": r"camera\.frames\(",
        "detect": r" detect_plates\(",
        "track": r"tracker\.follow\(",
        "read": r" read_crops\(",
    },
    "keeping.py": {
        "gate": r"gating\.settle\(",
        "seal": r"sealer\.seal_reads\b",
        "spool": r"spool\.put\(",
    },
    "send.py": {
        "spool": r"spool\.segments\(",
        "uplink": r"delivery\.deliver\(",
        "audit": r" Uploaded\(",
        "delete": r"deletion\.put_off\(",
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_the_pipeline_calls_the_stages_in_the_order_of_the_road(name):
    text = (AGENT / "pipeline" / name).read_text()
    body = text[text.index("def ") :]
    assert in_order(first_places(body, CALLS[name]))


def test_the_diagram_in_the_readme_shows_the_road_in_order():
    text = (ROOT / "README.md").read_text()
    diagram = text[text.index("camera ─▶") :]
    shown = [stage for stage in ROAD if stage not in {"uplink", "audit"}]
    assert in_order(first_places(diagram, {stage: rf"\b{stage}\b" for stage in shown}))
    assert "uplink ─▶ the city's endpoint ─▶ signed receipt ─▶ delete" in diagram


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_the_uplink_imports_the_network(path):
    found = {name for name in imports(path) if name.split(".")[0] in NETWORK}
    to_systemd = {"socket"} if relative(path) == "agent/base/notify.py" else set()
    assert found == to_systemd or relative(path) == "agent/uplink.py", found


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_trust_keys_loads_private_keys(path):
    text = path.read_text()
    loaders = re.findall(r"load_(?:pem|der|ssh)_private_key|generate_private_key", text)
    assert not loaders or relative(path) == "agent/trust/keys.py", loaders


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_functions_and_modules_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= MODULE_LIMIT_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LIMIT_LINES, f"{node.name}: {lines} lines"


def is_broad(handler: ast.ExceptHandler) -> bool:
    named = isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    return handler.type is None or named


def test_only_the_watchers_loop_swallows_every_exception():
    places = {
        relative(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
        if not isinstance(node.body[-1], ast.Raise)
    }
    # from their threads to who waits, and raised there
    handed_on = {
        "agent/camera/patient.py",
        "agent/camera/pi.py",
        "agent/pipeline/committing.py",
    }
    dropped = {"agent/pipeline/keeping.py"}  # reads that cannot be sealed, with a count
    assert places == {"agent/pipeline/watch.py"} | handed_on | dropped


WATCHDOG = """
import sys
events = []
WATCHED = ("open", "socket.", "subprocess.", "os.putenv", "os.mkdir", "os.remove", "os.rename")
def hook(event, args):
    if not event.startswith(WATCHED):
        return
    if event == "open" and (args[1] is None or set(args[1]) <= set("rbtU")):
        return  # importing reads files
    events.append((event, str(args)))
import cryptography, cbor2, msgspec, zstandard, google_crc32c, http.client, ssl, logging
import numpy, cv2, onnxruntime, av
import threading
sys.addaudithook(hook)
before = (threading.active_count(), len(logging.getLogger().handlers))
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
after = (threading.active_count(), len(logging.getLogger().handlers))
assert not events, events
assert before == after, (before, after)
"""


def test_importing_any_module_does_nothing():
    names = [relative(path)[:-3].replace("/", ".").removesuffix(".__init__") for path in MODULES]
    run = subprocess.run(
        [sys.executable, "-B", "-c", WATCHDOG, *(n for n in names if n != "agent.__main__")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_sender_loads_no_picture_library():
    code = (
        "import sys, agent.cli.send; "
        "print({'numpy', 'cv2', 'onnxruntime', 'av'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("command", ["send", "watch", "policy", "check"])
def test_no_network_client_comes_in_with_a_library(command, tmp_path):
    """TUF brings urllib3 along (ADR 0005): what opens a policy never loads it."""
    (tmp_path / "root.json").write_bytes(first_root())
    (tmp_path / "bundle").write_bytes(encode_bundle(draft().signed()))
    code = (
        "import sys, agent.cli.%s, agent.trust.bundle as bundle, pathlib; "
        "folder = pathlib.Path(sys.argv[1]); "
        "trusted = bundle.trust_root((folder / 'root.json').read_bytes(), place=''); "
        "content = (folder / 'bundle').read_bytes(); "
        "bundle.open_bundle(content, trusted=trusted, now=None, place=''); "
        "print({'urllib3', 'requests', 'tuf.ngclient', 'tuf.repository'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code % command, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "set()"


def test_the_watcher_loads_no_network_module_of_ours():
    code = "import sys, agent.cli.watch; print('agent.uplink' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
