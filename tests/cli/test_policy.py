"""`homeplate policy`: what people at their desks see and what they are kept from."""

import json
import shlex
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from agent.base.errors import ConfigError
from agent.cli import main
from agent.cli.key_files import read_public_key
from agent.cli.keyring import load_ring
from agent.cli.policy_book import Book
from agent.cli.policy_fields import list_paths, set_field
from agent.cli.policy_init import DEFAULTS
from agent.cli.policy_words import LABELS, find_changes, tell_changes
from agent.trust.bundle_files import parse_bundle
from agent.trust.policy import Policy, city_key, parse_policy
from agent.trust.roles import key_pem
from agent.trust.terms import Legal
from tests.policies import MODELS, OFFICES, draft, policy_fields, signer
from tests.updates import make_archive

PASSPHRASE = "correct horse battery"  # noqa: S105  of keys that live for a test


class Office:
    """A folder of policies and three desks."""

    def __init__(self, folder, capsys, monkeypatch):
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch
        self.book = Book(folder / "policies")
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text(f"{PASSPHRASE}\n")
        (folder / "manifest.toml").write_bytes(MODELS)
        fields = policy_fields()
        parts = {name: fields[name] for name in ("endpoint", "receipt_keys")}
        (folder / "endpoint.json").write_text(json.dumps(parts))
        (folder / "sealing.pub").write_bytes(signer("sealing").public_spki)
        (folder / "list.pub").write_text(key_pem(signer("list").public_key))
        legal = {"legal": dict.fromkeys(Legal.__struct_fields__, "As the council decided.")}
        (folder / "legal.json").write_text(json.dumps(legal))

    def do(self, *words, code=0):
        """Run a command; return what it printed."""
        found = main(["policy", *map(str, words)])
        out, err = self.capsys.readouterr()
        assert found == code, f"{out}\n{err}"
        return out + err

    def make_keys(self):
        for office in OFFICES:
            self.do("key", self.key(office), "--passphrase-file", self.passphrase)

    def key(self, office):
        return self.folder / f"{office}.key"

    def begin(self, *words):
        """Make keys and the first draft."""
        self.make_keys()
        return self.begin_with_keys(*words)

    def begin_with_keys(self, *words, code=0):
        """Make the first draft; the keys are there."""
        offices = [f"--office={name}={self.folder / f'{name}.pub'}" for name in OFFICES]
        return self.init(*offices, *words, code=code)

    def init(self, *words, code=0):
        """Begin the folder."""
        return self.do(
            "init",
            self.book.folder,
            "--city=Testville",
            f"--endpoint={self.folder / 'endpoint.json'}",
            f"--sealing-key={self.folder / 'sealing.pub'}",
            f"--models={self.folder / 'manifest.toml'}",
            f"--hotlist-key=Police={self.folder / 'list.pub'}",
            *words,
            code=code,
        )

    def complete(self):
        """Make keys and a first draft that is ready for signing."""
        return self.begin("--from", self.folder / "legal.json")

    def files(self):
        """Return what lies in the folder."""
        return {path.name: path.read_bytes() for path in self.book.folder.glob("*.*")}

    def sign(self, office, *words, code=0):
        path = ("--passphrase-file", self.passphrase)
        return self.do(
            "sign", self.book.folder, "--key", self.key(office), *path, *words, code=code
        )

    def publish_first(self):
        self.complete()
        self.sign("police", "--yes")
        self.sign("clerk", "--yes")
        return self.do("publish", self.book.folder)


@pytest.fixture
def office(tmp_path, capsys, monkeypatch):
    return Office(tmp_path, capsys, monkeypatch)


def test_a_key_lies_under_its_passphrase_and_nobody_else_reads_it(office):
    office.make_keys()
    content = office.key("clerk").read_text()
    assert content.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert office.key("clerk").stat().st_mode & 0o777 == 0o600
    assert "exists already" in office.do(
        "key", office.key("clerk"), "--passphrase-file", office.passphrase, code=78
    )
    assert office.key("clerk").read_text() == content


def test_a_short_passphrase_is_none(office):
    office.passphrase.write_text("secret\n")
    key = ("key", office.key("clerk"), "--passphrase-file", office.passphrase)
    assert "expected 10" in office.do(*key, code=78)
    assert not office.key("clerk").exists()


def test_a_new_city_begins_with_the_least_and_with_a_draft_that_is_not_ready(office):
    told = office.begin()
    assert "not ready for signing" in told
    assert "blank: authorized purposes (A), legal.authorized_purposes; " in told
    assert office.book.read_draft()["mode"] == DEFAULTS["mode"] == "hits-only"
    assert not (office.book.folder / "pending.bundle").exists()
    assert "next: homeplate policy edit " in told
    told = office.sign("police", "--yes", code=78)
    assert "nothing is pending: the draft is not ready" in told
    assert "blank: authorized purposes (A), legal.authorized_purposes; " in told


def test_two_signatures_make_a_policy_one_does_not(office):
    office.complete()
    told = office.sign("police", "--yes")
    assert told.count("what is kept: only hits on the hotlist") == 1
    assert "nothing to compare with: this is the city's first policy" in told
    assert "whatever changes" not in told
    assert "1 of 2 signatures (police); 1 missing: city-manager or clerk" in told
    told = office.do("publish", office.book.folder, code=79)
    assert (
        "the policy is not signed by enough offices: 1 of 2 signatures (police); 1 missing" in told
    )
    assert "first root" not in told
    assert "2 of 2 signatures (police, clerk)" in office.sign("clerk", "--yes")
    assert "published: policy 1" in office.do("publish", office.book.folder)
    assert (office.book.folder / "published/0001.bundle").exists()
    assert "units take it" in office.do("verify", office.book.folder)


def test_a_change_is_told_in_plain_words(office):
    office.publish_first()
    told = office.do("edit", office.book.folder, "--set=retention.reads=7d", "--set=mode=all")
    assert "! retention of reads on the unit: 24 hours → 7 days" in told
    assert "plates that are on no list will be kept from now on" in told
    assert "legal" not in told
    (change,) = [
        item
        for item in json.loads(office.do("diff", office.book.folder, "--json"))["changes"]
        if item["path"] == "retention.reads"
    ]
    assert (change["before"], change["after"]) == ("24 hours", "7 days")


def test_an_edit_after_a_signature_makes_it_void(office):
    office.complete()
    office.sign("police", "--yes")
    told = office.do("edit", office.book.folder, "--set=min_hit_frames=5")
    assert "to be signed anew: police" in told
    assert "1 of 2 signatures (clerk)" in office.sign("clerk", "--yes")


def test_an_editor_opens_the_draft(office):
    office.publish_first()
    script = office.folder / "editor.py"
    script.write_text(
        "import sys, pathlib\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.write_text(path.read_text().replace('\"24h\"', '\"7d\"'))\n"
    )
    office.monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    office.monkeypatch.delenv("VISUAL", raising=False)
    told = office.do("edit", office.book.folder)
    assert "retention of reads on the unit: 24 hours → 7 days" in told
    assert "(retention is the longest life on the unit; at the city nothing is deleted" in told


@pytest.mark.parametrize(
    ("editor", "found"), [("false", "did not end well"), ("no-such", "EDITOR")]
)
def test_an_editor_that_fails_changes_nothing(office, editor, found):
    office.publish_first()
    office.monkeypatch.setenv("VISUAL", editor)
    assert found in office.do("edit", office.book.folder, code=78)
    assert not (office.book.folder / "pending.bundle").exists()


SLIPS = pytest.mark.parametrize(
    ("words", "found"),
    [
        ("retention.reads=forever", "expected one of 21d, 24h, 30d, 60d, 7d, nh-3min"),
        ("retention.reeds=7d", "did you mean retention.reads"),
        ("share_with=others", "a policy has no field share_with"),
        ("version=7", "sets version by itself"),
        ('purposes=["civil-warrant"]', "found 'civil-warrant'; expected one of stolen-vehicle"),
        ("legal.monitoring=", "blank: how use is monitored (C), legal.monitoring;"),
        ("expires_at=2020-01-01T00:00:00Z", "not after $.issued_at"),
    ],
    ids=["retention", "near_name", "unknown_field", "version", "purpose", "blank", "time"],
)


@SLIPS
def test_a_slip_changes_nothing_and_says_so(office, words, found):
    office.publish_first()
    before = office.files()
    assert found in office.do("edit", office.book.folder, "--set", words, code=78)
    assert office.files() == before


@SLIPS
def test_a_slip_leaves_what_is_pending_with_its_signatures(office, words, found):
    office.publish_first()
    office.do("edit", office.book.folder, "--set=retention.hits=60d")
    office.sign("police", "--yes")
    before = office.files()
    assert found in office.do("edit", office.book.folder, "--set", words, code=78)
    assert office.files() == before
    assert "2 of 2 signatures (police, clerk)" in office.sign("clerk", "--yes")
    told = office.do("publish", office.book.folder)
    assert "published: policy 2" in told
    assert "60 days" in office.do("verify", office.book.folder)


def test_what_is_published_is_never_signed_in_the_place_of_a_draft(office):
    office.publish_first()
    published = (office.book.folder / "current.bundle").read_bytes()
    told = office.sign("city-manager", "--yes", code=78)
    assert "nothing is pending: the draft is what was published last" in told
    draft_path = office.book.folder / "policy.json"
    draft_path.write_text(draft_path.read_text().replace('"24h"', '"forever"'))
    told = office.sign("city-manager", "--yes", code=78)
    assert "the draft is not ready" in told
    assert "Invalid enum value 'forever'" in told
    assert (office.book.folder / "current.bundle").read_bytes() == published


def test_an_edit_that_changes_nothing_keeps_the_signatures(office):
    office.complete()
    office.sign("police", "--yes")
    before = office.files()
    assert "nothing changes" in office.do("edit", office.book.folder, "--set=mode=hits-only")
    assert office.files() == before


def test_an_application_is_named_shown_before_each_signature_and_taken_back(office):
    office.publish_first()
    archive = make_archive(office.folder, "1.2.0")
    told = office.do("edit", office.book.folder, f"--application={archive}")
    length, found = archive.stat().st_size, sha256(archive.read_bytes()).hexdigest()
    shown = f"{length} bytes, SHA-256 {found}"
    assert "application that units install" in told
    assert "this is the software that sees every plate" in told
    assert shown in told
    for name in ("police", "clerk"):
        assert shown in office.sign(name, "--yes")
    office.do("publish", office.book.folder)
    assert shown in office.do("verify", office.book.folder)
    assert "nothing changes" in office.do("edit", office.book.folder, f"--application={archive}")
    told = office.do("edit", office.book.folder, "--application=none")
    assert "now: none: units keep what they have" in told
    assert not (office.book.folder / "application.json").exists()


def test_what_is_no_archive_changes_nothing(office):
    office.publish_first()
    before = office.files()
    (office.folder / "no").write_bytes(b"no archive")
    for name in ("no", "missing"):
        office.do("edit", office.book.folder, f"--application={office.folder / name}", code=78)
    assert office.files() == before


def test_a_draft_that_was_changed_by_hand_is_told(office):
    office.publish_first()
    office.do("edit", office.book.folder, "--set=retention.hits=60d")
    path = office.book.folder / "policy.json"
    path.write_text(path.read_text().replace('"60d"', '"7d"'))
    stray = "note: the draft (policy.json) is not what is pending"
    assert stray in office.do("diff", office.book.folder)
    for name in ("police", "clerk"):
        assert stray in office.sign(name, "--yes")
    path.write_text(path.read_text().replace('"7d"', '"forever"'))
    told = office.do("publish", office.book.folder)
    assert stray in told
    assert "it is not ready" in told
    assert "60 days" in office.do("verify", office.book.folder)


def test_the_public_page_is_not_the_draft_and_says_so(office):
    office.publish_first()
    out = office.folder / "policy.html"
    assert "note: " not in office.do("render", office.book.folder, out)
    path = office.book.folder / "policy.json"
    path.write_text(path.read_text().replace('"30d"', '"60d"'))
    told = office.do("render", office.book.folder, out)
    assert "note: the draft (policy.json) is not what is published; `homeplate policy edit`" in told
    assert "60 days" not in out.read_text()
    office.do("edit", office.book.folder, "--set=retention.hits=21d")
    for name in ("police", "clerk"):
        office.sign(name, "--yes")
    told = office.do("render", office.book.folder, out)
    assert told.endswith("note: it is signed, and not published yet\n")


def test_the_keys_for_hotlists_can_be_changed(office):
    office.publish_first()
    new = office.folder / "new.pub"
    new.write_text(key_pem(signer("new list").public_key))
    told = office.do("edit", office.book.folder, f"--hotlist-key=Sheriff={new}")
    assert "! who may sign hotlists" in told
    assert f"→ Sheriff (key {signer('new list').public_key.key_id.hex()})" in told


def test_diff_says_when_nothing_is_pending(office):
    office.begin()
    assert "the draft is not ready" in office.do("diff", office.book.folder)
    office.do("edit", office.book.folder, "--from", office.folder / "legal.json")
    for name in ("police", "clerk"):
        office.sign(name, "--yes")
    office.do("publish", office.book.folder)
    told = office.do("diff", office.book.folder)
    assert "nothing is pending: the draft is what was published last" in told
    assert json.loads(office.do("diff", office.book.folder, "--json"))["changes"] == []


def test_an_office_that_signs_twice_is_told(office):
    office.complete()
    office.sign("police", "--yes")
    before = office.files()
    told = office.sign("police", "--yes")
    assert "police has signed this already" in told
    assert "1 missing: city-manager or clerk" in told
    assert office.files() == before


def test_a_key_is_asked_for_before_anything_is_read(office):
    office.complete()
    office.passphrase.write_text("another passphrase\n")
    assert "what you sign" not in office.sign("police", "--yes", code=77)


def test_two_offices_with_one_key_are_refused(office):
    office.make_keys()
    offices = [f"--office={name}={office.folder / 'police.pub'}" for name in OFFICES]
    told = office.init(*offices, code=78)
    assert "police and city-manager have one key" in told
    assert not office.book.folder.exists()


def test_a_private_key_in_the_place_of_a_public_one_is_told(office):
    office.make_keys()
    told = office.init(f"--office=police={office.key('police')}", code=77)
    assert "found a private key; name its public half" in told


def test_nothing_is_published_where_it_cannot_be_given_out(office):
    office.complete()
    for name in ("police", "clerk"):
        office.sign(name, "--yes")
    told = office.do("publish", office.book.folder, office.folder / "no/such.bundle", code=78)
    assert "nothing was published" in told
    office.do("publish", office.book.folder, office.folder, code=78)
    assert (office.book.folder / "pending.bundle").exists()
    assert not (office.book.folder / "current.bundle").exists()


def test_what_was_written_in_an_editor_and_refused_is_kept(office):
    office.publish_first()
    script = office.folder / "editor.py"
    script.write_text(
        "import sys, pathlib\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.write_text(path.read_text().replace('As the council', 'As we')\n"
        ".replace('24h', '25h'))\n"
    )
    office.monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    assert "--from" in office.do("edit", office.book.folder, code=78)
    kept = office.book.folder / "policy.refused.json"
    kept.write_text(kept.read_text().replace("25h", "21d"))
    told = office.do("edit", office.book.folder, "--from", kept)
    assert "As we decided." in told
    assert "24 hours → 21 days" in told
    assert not kept.exists()


def test_a_hits_only_policy_without_keys_for_hotlists_is_not_signed(office):
    office.complete()
    (office.book.folder / "hotlist-keys.json").write_text("[]")
    (office.book.folder / "pending.bundle").unlink()
    told = office.do("edit", office.book.folder, "--set=crops=none")
    assert "nobody may sign a hotlist" in told
    assert "nobody may sign a hotlist" in office.sign("police", "--yes", code=78)


def test_a_dry_run_writes_nothing(office):
    office.publish_first()
    before = (office.book.folder / "policy.json").read_bytes()
    assert "complete" in office.do("edit", office.book.folder, "--set=mode=all", "--dry-run")
    assert (office.book.folder / "policy.json").read_bytes() == before
    office.do("edit", office.book.folder, "--set=mode=all")
    for name in ("police", "clerk"):
        office.sign(name, "--yes")
    assert "policy 2 would be" in office.do("publish", office.book.folder, "--dry-run")
    assert (office.book.folder / "pending.bundle").exists()


@pytest.mark.parametrize("answer", ["no", "", "y"])
def test_only_yes_is_yes(office, answer):
    office.complete()
    office.monkeypatch.setattr("builtins.input", lambda _: answer)
    assert "not signed" in office.sign("police", code=78)
    assert "1 of 2 signatures (clerk)" in office.sign("clerk", "--yes")


def test_yes_signs(office):
    office.complete()
    office.monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert "signed as police" in office.sign("police")


def test_another_passphrase_signs_nothing(office):
    office.complete()
    office.passphrase.write_text("another passphrase\n")
    told = office.sign("police", "--yes", code=77)
    assert "wrong passphrase" in told
    assert PASSPHRASE not in told


def test_a_strangers_key_signs_nothing(office):
    office.complete()
    stranger = office.folder / "stranger.key"
    office.do("key", stranger, "--passphrase-file", office.passphrase)
    words = ("sign", office.book.folder, "--key", stranger, "--yes")
    told = office.do(*words, "--passphrase-file", office.passphrase, code=77)
    assert "none of the offices" in told


def test_a_key_module_signs_by_a_command(office):
    office.complete()
    script = office.folder / "card.py"
    script.write_text(
        "import sys, pathlib\n"
        "from agent.trust.keys import load_protected_signer\n"
        f"pem = bytearray(pathlib.Path({str(office.key('clerk'))!r}).read_bytes())\n"
        f"signer = load_protected_signer(pem, {PASSPHRASE!r}, place='card')\n"
        "sys.stdout.buffer.write(signer.sign(sys.stdin.buffer.read()))\n"
    )
    office.monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    command = ("--external", f"{sys.executable} {script}", "--yes")
    told = office.do("sign", office.book.folder, *command, "--office", "clerk")
    assert "1 of 2 signatures (clerk)" in told
    told = office.do("sign", office.book.folder, *command, "--office", "mayor", code=78)
    assert "expected one of police, city-manager, clerk" in told
    failing = ("--external", "false", "--office", "police", "--yes")
    assert "nothing was signed" in office.do("sign", office.book.folder, *failing, code=77)
    before = (office.book.folder / "pending.bundle").read_bytes()
    for words in (("echo garbage", "police"), (f"{sys.executable} {script}", "police")):  # clerk's
        false = ("--external", words[0], "--office", words[1], "--yes")
        assert "nothing was signed" in office.do("sign", office.book.folder, *false, code=77)
    assert (office.book.folder / "pending.bundle").read_bytes() == before


def test_the_pending_bundle_alone_may_go_round(office):
    office.complete()
    away = office.folder / "stick.bundle"
    away.write_bytes((office.book.folder / "pending.bundle").read_bytes())
    words = ("--passphrase-file", office.passphrase, "--yes")
    office.do("sign", away, "--key", office.key("clerk"), *words)
    (office.book.folder / "pending.bundle").write_bytes(away.read_bytes())
    assert "2 of 2" in office.sign("police", "--yes")


def test_an_office_gets_a_new_key(office):
    office.publish_first()
    fresh = office.folder / "new.key"
    office.do("key", fresh, "--passphrase-file", office.passphrase)
    told = office.do("offices", office.book.folder, f"--replace=police={fresh.with_suffix('.pub')}")
    assert "they decide from now on what units do" in told
    assert "of the offices before, for the new keys" in office.sign("clerk", "--yes")
    assert "2 of 2" in office.sign("city-manager", "--yes")
    assert "published: policy 2" in office.do("publish", office.book.folder)
    office.do("edit", office.book.folder, "--set=crops=all")
    assert "none of the offices" in office.sign("police", "--yes", code=77)
    told = office.do("offices", office.book.folder, "--replace=mayor=x.pub", code=78)
    assert "x.pub" in told


def test_an_edit_keeps_the_new_key_of_an_office_that_is_pending(office):
    office.publish_first()
    fresh = office.folder / "new.key"
    office.do("key", fresh, "--passphrase-file", office.passphrase)
    office.do("offices", office.book.folder, f"--replace=police={fresh.with_suffix('.pub')}")
    told = office.do("edit", office.book.folder, "--set=retention.hits=60d")
    assert "they decide from now on what units do" in told
    office.sign("clerk", "--yes")
    office.sign("city-manager", "--yes")
    assert "published: policy 2" in office.do("publish", office.book.folder)


def test_an_office_gets_no_key_that_another_has(office):
    office.publish_first()
    told = office.do(
        "offices",
        office.book.folder,
        f"--replace=police={office.folder / 'clerk.pub'}",
        code=78,
    )
    assert "this is the key of clerk already" in told


def test_publishing_gives_the_bundle_to_the_endpoint(office):
    office.complete()
    for name in ("police", "clerk"):
        office.sign(name, "--yes")
    out = office.folder / "served.bundle"
    office.do("publish", office.book.folder, out)
    assert out.read_bytes() == (office.book.folder / "current.bundle").read_bytes()
    out.unlink()
    office.do("publish", office.book.folder, out)
    assert out.exists()
    assert "nothing is pending" in office.do("publish", office.book.folder, code=78)


def test_a_city_is_founded_once(office):
    office.complete()
    words = ("init", office.book.folder, "--city=X", "--endpoint=x", "--sealing-key=x")
    assert "lies there already" in office.do(*words, code=78)


@pytest.mark.parametrize("text", ["retention", "x.y=1", "mode.x=1", "=1"], ids=str)
def test_a_setting_that_is_nowhere_is_told(text):
    with pytest.raises(ConfigError, match=r"PATH=VALUE|no field"):
        set_field({"mode": "all", "retention": {}}, text)


def test_a_draft_without_the_place_gets_it():
    fields = {"mode": "all"}
    set_field(fields, "retention.hits=60d")
    assert fields["retention"] == {"hits": "60d"}
    with pytest.raises(ConfigError, match="no fields there"):
        set_field({"retention": 3}, "retention.hits=60d")


def test_every_part_of_a_policy_can_be_set():
    assert {*LABELS} - {"models", "hotlist", "application", "offices"} <= set(list_paths())


def test_every_part_of_a_policy_has_a_name_that_people_use():
    fields = msgspec.to_builtins(parse_policy_of(policy_fields(1, units=["unit-1"])))
    paths = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in fields.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert paths == set(LABELS) - {"models", "hotlist", "application", "offices"}
    assert set(Policy.__struct_fields__) == {path.split(".")[0] for path in paths}


def parse_policy_of(fields):
    return msgspec.json.decode(json.dumps(fields), type=Policy)


def test_two_equal_policies_change_nothing():
    assert tell_changes(find_changes(draft().signed(), draft().signed())) == "nothing changes"


class Page(HTMLParser):
    """Takes an HTML page apart."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.links = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_public_page_says_everything_and_loads_nothing(office):
    office.publish_first()
    out = office.folder / "policy.html"
    told = office.do("render", office.book.folder, out)
    page = Page(out.read_text())
    decision = json.loads(office.do("verify", office.book.folder, "--json"))
    assert decision["policy_hash"] in page.text
    assert decision["policy_hash"] in told
    assert all(name in page.text for name in OFFICES)
    assert page.text.count("As the council decided.") == 7
    assert "24 hours" in page.text
    assert "Recovery of a stolen vehicle" in page.text
    assert ("html", {"lang": "en"}) in page.tags
    assert {"h1", "main", "table", "caption", "th", "dl", "title"} <= {tag for tag, _ in page.tags}
    assert all(attrs.get("scope") == "row" for tag, attrs in page.tags if tag == "th")
    assert not any(tag in {"script", "link", "img", "iframe"} for tag, _ in page.tags)
    assert not any({"src", "href", "onload"} & set(attrs) for _, attrs in page.tags)


def test_the_public_page_shows_what_stands_in_the_policy_and_runs_none_of_it(office):
    office.complete()
    bad = "<script>alert(1)</script> & Sons"
    office.do("edit", office.book.folder, f"--set=legal.custodian_title={bad}")
    for name in ("police", "clerk"):
        office.sign(name, "--yes")
    out = office.folder / "policy.html"
    office.do("render", office.book.folder, out)
    page = Page(out.read_text())
    assert bad in page.text
    assert not any(tag == "script" for tag, _ in page.tags)


def test_a_policy_that_units_would_refuse_gets_no_page(office):
    office.complete()
    office.do("render", office.book.folder, office.folder / "x.html", code=79)
    assert not (office.folder / "x.html").exists()


def test_verify_judges_as_a_unit_would(office):
    office.publish_first()
    root, current = office.book.folder / "root.json", office.book.folder / "current.bundle"
    assert "units take it" in office.do("verify", current, "--root", root, "--unit=unit-0001")
    broken = office.folder / "broken.bundle"
    broken.write_bytes(current.read_bytes()[:-3])
    office.do("verify", broken, "--root", root, code=79)
    assert parse_bundle(current.read_bytes(), place="x").roots[0] == root.read_bytes()


def test_who_signs_and_who_reads_the_page_learns_what_retention_means(office):
    office.publish_first()
    assert "longest life" not in office.do("edit", office.book.folder, "--set=min_hit_frames=5")
    assert office.sign("police", "--yes").count("longest life on the unit; at the city") == 1
    office.do("render", office.book.folder, office.folder / "page.html", code=79)
    office.sign("clerk", "--yes")
    office.do("render", office.book.folder, office.folder / "page.html")
    page = " ".join((office.folder / "page.html").read_text().split())
    assert "until the city destroys the key of that period" in page
    assert "only those of hits, each kept and deleted with its hit" in page


def test_each_month_s_key_goes_into_the_policy_as_a_file(office):
    office.publish_first()
    before = office.book.read_draft()["sealing"]
    (office.folder / "next.pub").write_bytes(signer("next month").public_spki)
    new = ("edit", office.book.folder, "--sealing-key", office.folder / "next.pub")
    told = office.do(*new)
    key_id = signer("next month").public_key.key_id.hex()
    assert "! city key that reads are sealed to: key" in told
    assert f"→ key {key_id}" in told
    after = office.book.read_draft()["sealing"]
    assert after == {**before, "public_key": b64encode(signer("next month").public_spki).decode()}
    (office.folder / "next.pub").write_bytes((office.folder / "clerk.pub").read_bytes())
    assert "with which clerk signs" in office.do(*new, code=79)
    assert office.book.read_draft()["sealing"] == after


@pytest.mark.parametrize("whose", ["clerk.pub", "list.pub"])
def test_a_key_that_signs_is_never_the_sealing_key(office, whose):
    office.make_keys()
    (office.folder / "sealing.pub").write_bytes((office.folder / whose).read_bytes())
    told = office.begin_with_keys(code=79)
    assert "$.sealing.public_key is the key" in told
    assert "expected a key of `homeplate city keys make`" in told
    assert not office.book.folder.exists()


def test_nobody_signs_a_draft_whose_sealing_key_signs(office):
    office.complete()
    files = office.book.files()
    fields = office.book.read_draft()
    clerk = read_public_key(office.folder / "clerk.pub").spki
    fields["sealing"]["public_key"] = b64encode(clerk).decode()
    forged = msgspec.structs.replace(files, policy=json.dumps(fields).encode())
    office.book.put_up(forged, office.book.roots())
    told = office.sign("police", "--yes", code=79)
    assert "with which clerk signs" in told
    assert "signed as" not in told


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_city_begins_with_three_offices_or_more(office, count):
    office.make_keys()
    named = [f"--office={name}={office.folder / f'{name}.pub'}" for name in OFFICES[:count]]
    assert f"--office: found {count}; name three offices" in office.init(*named, code=78)
    assert not office.book.folder.exists()


def test_a_field_without_its_sign_is_told_how_to_write_it(office):
    office.publish_first()
    told = office.do("edit", office.book.folder, "--set", "min_hit_frames", "2", code=78)
    assert "expected PATH=VALUE in one word, as in min_hit_frames=2" in told


def test_an_edit_back_to_what_is_published_leaves_nothing_to_sign(office):
    office.publish_first()
    published = office.files()
    office.do("edit", office.book.folder, "--set=retention.hits=60d")
    office.sign("police", "--yes")
    back = ("edit", office.book.folder, "--set=retention.hits=30d")
    told = office.do(*back, "--dry-run")
    assert "nothing to sign" in told
    assert (office.book.folder / "pending.bundle").exists()
    told = office.do(*back)
    assert "this is what is published already: nothing to sign" in told
    assert "signatures of the draft before do not count any more" in told
    assert office.files() == published


def test_a_draft_can_be_discarded(office):
    office.publish_first()
    published = office.files()
    discard = ("discard", office.book.folder)
    assert "nothing to discard" in office.do(*discard)
    office.do("edit", office.book.folder, "--set=retention.hits=60d")
    office.sign("police", "--yes")
    assert "would be dropped" in office.do(*discard, "--dry-run")
    assert (office.book.folder / "pending.bundle").exists()
    told = office.do(*discard)
    assert "signed before this change, to be signed anew: police" in told
    assert office.files() == published
    assert "nothing is pending" in office.do("diff", office.book.folder)
    path = office.book.folder / "policy.json"
    path.write_text(path.read_text().replace('"30d"', '"60d"'))
    office.do(*discard)
    assert office.files() == published


def test_a_first_draft_is_not_discarded_for_nothing_is_there_to_go_back_to(office):
    office.complete()
    before = office.files()
    assert "nothing is published" in office.do("discard", office.book.folder, code=78)
    assert office.files() == before


OPERATING = Path(__file__).parents[2] / "deploy" / "docs" / "operating.md"


def test_a_new_key_each_month_as_the_documents_say(office):
    """The lines of operating.md; only the passphrase comes from a file, not from a keyboard."""
    monkeypatch, folder = office.monkeypatch, office.folder
    monkeypatch.chdir(folder)
    assert main(["city", "keys", "make", "safe", "2026-11"]) == 0
    (folder / "sealing.pub").write_bytes((folder / "safe/2026-11.pub").read_bytes())
    (folder / "endpoint").mkdir()
    office.publish_first()
    text = OPERATING.read_text().partition("### A new key each month")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("homeplate ")]
    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line)[1:]
        words += ["--passphrase-file", "passphrase", "--yes"] if "--key" in words else []
        assert main(words) == 0, office.capsys.readouterr()
    ring = load_ring(folder / "safe")
    (key_id,) = ring.openers
    bundle = parse_bundle((folder / "endpoint/policy.bundle").read_bytes(), place="served")
    assert city_key(parse_policy(bundle.files.policy, place="served")).key_id == key_id
    assert [period.name for period in ring.gone.values()] == ["2026-11"]


def quota(hits_bytes):
    return {"hits_bytes": hits_bytes, "reads_bytes": 1 << 30, "crops_bytes": 1 << 30}


@pytest.mark.parametrize("new_bytes", [65_536, 499_999, (1 << 20) - 1])
def test_a_quota_that_changes_by_less_than_a_mebibyte_is_told(new_bytes):
    before, after = (draft(2, quota=quota(size)).bundle() for size in (500_000, new_bytes))
    (change,) = find_changes(before, after)
    assert (change.before, change.after) == ("500,000 bytes", f"{new_bytes:,} bytes")


def test_a_change_that_the_words_are_too_short_for_is_told(monkeypatch):
    monkeypatch.setattr("agent.cli.policy_words._short", lambda _: "the same 64 bits")
    before, after = (draft().but(models=content).bundle() for content in (b"one", b"other"))
    (change,) = find_changes(before, after)
    assert change.path == "models"
    assert sha256(b"one").hexdigest() in change.before
    assert sha256(b"other").hexdigest() in change.after
