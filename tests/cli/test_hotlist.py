"""`homeplate hotlist`: an office signs a list, is told what is wrong with it, and tries it."""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import InputError
from agent.cli import main
from agent.cli.bench_hotlist import LIMITS, Figures, measure, report
from agent.cli.hotlist_table import ERRORS_TOLD, read_table
from agent.cli.near_misses import count_near_misses
from agent.gate import GateRules, Hotlist
from agent.trust.bundle_files import encode_bundle
from agent.trust.hotlist import peek_hotlist
from agent.trust.keys import encode_private_key
from agent.trust.signatures import load_public_file
from tests.fakes import NOON
from tests.lists import NOON_MS, make_list, open_list
from tests.policies import draft, first_root, signer, text64

HEAD = "plate,state,purpose,agency,case,expires\n"
PURPOSES = ("stolen-vehicle", "missing-person")
SOON = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
LINE = f"7KXR482,CA,stolen-vehicle,PD,26-1,{SOON}"


def table(text):
    return read_table(text.encode(), purposes=PURPOSES, now=NOON, place="list.csv")


def test_a_table_becomes_entries_in_one_spelling():
    found = table(HEAD + " 7kxr-482 ,,stolen-vehicle,Police,26-1,2026-12-31\n,,,,,\n")
    (entry,) = found.entries
    assert (entry.plate, entry.state, entry.agency, entry.case) == ("7KXR482", "", "Police", "26-1")
    ends = datetime.fromtimestamp(entry.expires_minute * 60, UTC)
    assert ends == datetime(2027, 1, 1, tzinfo=UTC)


def test_columns_may_stand_in_any_order_and_texts_in_quotation_marks():
    text = "\ufeffCase,Plate,Expires,State,Agency,Purpose\n"
    text += '26-1,7KXR482,2026-12-31T18:00-08:00,ca,"Police, County",missing-person\n'
    (entry,) = table(text).entries
    assert (entry.agency, entry.state, entry.purpose) == ("Police, County", "CA", "missing-person")
    assert datetime.fromtimestamp(entry.expires_minute * 60, UTC).hour == 2


def test_what_is_over_or_there_twice_is_left_out_and_counted():
    over = "8ABC123,CA,stolen-vehicle,PD,26-2,2020-01-01"
    found = table(HEAD + f"{LINE}\n{over}\n{LINE}\n")
    assert (len(found.entries), found.expired, found.repeated) == (1, 1, 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7KX*482,CA,stolen-vehicle,PD,26-1,2027-01-01", "found no plate"),
        (",CA,stolen-vehicle,PD,26-1,2027-01-01", "the column plate is empty"),
        ("7KXR482,CA,,PD,26-1,2027-01-01", "the column purpose is empty"),
        ("7KXR482,CA,immigration,PD,26-1,2027-01-01", "the purpose is none of the policy's"),
        ("7KXR482,CA,7KXR482,PD,26-1,2027-01-01", "the purpose is none of the policy's"),
        ("7KXR482,CA,stolen-vehicle,,26-1,2027-01-01", "the column agency is empty"),
        ("7KXR482,CA,stolen-vehicle,PD,,2027-01-01", "the column case is empty"),
        ("7KXR482,CA,stolen-vehicle,PD,26-1,", "the column expires is empty"),
        ("7KXR482,CA,stolen-vehicle,PD,26-1,tomorrow", "is no date"),
        ("7KXR482,CA,stolen-vehicle,PD,26-1,2027-13-01", "is no date"),
        ("7KXR482,CA,stolen-vehicle,PD,26-1,9999-12-31", "is no date"),
        ("7KXR482,CA,stolen-vehicle,PD,26-1,2027-01-01T10:00", "without a zone"),
        ("7KXR482,CALIFORNIA,stolen-vehicle,PD,26-1,2027-01-01", "the state is none"),
        ("7KXR482,C\u00c4,stolen-vehicle,PD,26-1,2027-01-01", "not of A-Z"),
        (f"7KXR482,CA,stolen-vehicle,{'P' * 65},26-1,2027-01-01", "not 1 to 64"),
        (f"7KXR482,CA,stolen-vehicle,PD,{'2' * 33},2027-01-01", "not 1 to 32"),
        ("7KXR482,CA,stolen-vehicle,PD,26\u20111,2027-01-01", "not of plain characters"),
        ("7KXR482,CA", "found 2 fields; expected 6"),
        ('"7KXR482,CA,stolen-vehicle,PD,26-1,2027-01-01', "a quotation mark is not closed"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_never_quoted(line, words):
    with pytest.raises(InputError, match=words) as caught:
        table(f"{HEAD}{LINE}\n{line}\n")
    text = str(caught.value)
    assert "line 3" in text
    assert not re.search("7KX|8ABC|CALIFORNIA", text)


def test_many_wrong_lines_are_told_together():
    with pytest.raises(InputError) as caught:
        table(HEAD + "*,CA,stolen-vehicle,PD,26-1,2027-01-01\n" * (ERRORS_TOLD + 4))
    text = str(caught.value)
    assert f"{ERRORS_TOLD + 4} wrong lines; nothing was signed" in text
    assert text.count("found no plate") == ERRORS_TOLD
    assert "and 4 more" in text


def test_lines_that_are_wrong_in_different_ways_are_told_together():
    short, open_quote = "7KXR482,CA", '"7KXR482,CA,stolen-vehicle,PD,26-1,2027-01-01'
    with pytest.raises(InputError) as caught:
        table(HEAD + f"{short}\n{LINE}\n{open_quote}\n*,,,,,\n")
    text = str(caught.value)
    assert "3 wrong lines" in text
    assert all(f"line {number}: " in text for number in (2, 4, 5))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "without agency, case"),
        (b"7KXR482\n3CEH915\n", "without agency, case"),
        (HEAD.replace(",", ";").encode(), "separated by semicolons; use commas"),
        (b"plate,plate,state,purpose,agency,case,expires\n", "another column, or one twice"),
        (HEAD.encode() + b"\xff\xfe", "is not UTF-8"),
    ],
    ids=["empty", "no heading", "semicolons", "twice", "no text"],
)
def test_a_table_that_is_none_is_refused_without_being_quoted(content, words):
    with pytest.raises(InputError, match=words) as caught:
        read_table(content, purposes=PURPOSES, now=NOON, place="list.csv")
    assert "7KX" not in str(caught.value)


@given(st.text())
def test_any_lines_are_entries_or_an_error_of_the_office(text):
    try:
        found = table(HEAD + text)
    except InputError:
        return
    assert all(re.fullmatch("[A-Z0-9]{1,16}", entry.plate) for entry in found.entries)


@pytest.fixture
def office(tmp_path):
    """A city's published policy, which names a key for hotlists, and that key."""
    named = [{"agency": "PD", "key": text64(signer("hotlist").public_spki)}]
    policy = draft().but(hotlist_keys=json.dumps(named).encode()).signed()
    (tmp_path / "policy.bundle").write_bytes(encode_bundle(policy))
    (tmp_path / "root.json").write_bytes(first_root())
    (tmp_path / "hotlist.key").write_bytes(encode_private_key(signer("hotlist")))
    (tmp_path / "list.csv").write_text(f"{HEAD}{LINE}\n3CEH915,,stolen-vehicle,PD,26-2,{SOON}\n")
    return tmp_path


def sign(office, *options, key="hotlist.key", table="list.csv"):
    return main(
        ["hotlist", "sign", str(office / table), "--key", str(office / key),
         "--policy", str(office / "policy.bundle"), "--out", str(office / "list.signed"), *options]
    )  # fmt: skip


def look(office, action, *options):
    return main(
        ["hotlist", action, str(office / "list.signed"),
         "--policy", str(office / "policy.bundle"), *options]
    )  # fmt: skip


def test_a_signed_list_says_what_is_in_it_without_a_plate(office, capsys):
    assert sign(office) == 0
    assert look(office, "verify") == 0
    text = capsys.readouterr().out
    assert "2 entries, until" in text
    assert re.search(r"stolen-vehicle +2", text)
    assert "7KXR482" not in text
    hotlist = open_list((office / "list.signed").read_bytes(), signer=signer("hotlist"))
    assert hotlist.find("7KXR482", now_ms=hotlist.issued_ms)[0].case == "26-1"
    assert hotlist.expires_ms - hotlist.issued_ms == 24 * 3_600_000
    assert (office / "list.signed").stat().st_mode & 0o077 == 0


def test_a_list_longer_than_the_policy_allows_is_not_signed_and_does_not_verify(office, capsys):
    assert sign(office) == 0
    named = [{"agency": "PD", "key": text64(signer("hotlist").public_spki)}]
    policy = draft(2, hotlist_entries=1).but(hotlist_keys=json.dumps(named).encode()).signed()
    (office / "policy.bundle").write_bytes(encode_bundle(policy))
    signed = (office / "list.signed").read_bytes()
    assert look(office, "verify") == 65
    assert "2 entries; the policy allows 1 (hotlist_entries)" in capsys.readouterr().err
    assert sign(office) == 66
    assert "2 entries; the policy allows 1 (hotlist_entries)" in capsys.readouterr().err
    assert (office / "list.signed").read_bytes() == signed


def test_verify_for_machines(office, capsys):
    sign(office, "--hours", "2")
    capsys.readouterr()
    assert look(office, "verify", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["entries"], found["expired"]) == (2, False)
    assert found["purposes"] == {"stolen-vehicle": 2}
    assert found["expires_ms"] - found["issued_ms"] == 2 * 3_600_000


def test_each_list_has_a_higher_version_than_the_one_before(office):
    versions = []
    for _ in range(3):
        assert sign(office) == 0
        versions.append(peek_hotlist((office / "list.signed").read_bytes()).version)
    assert versions == sorted(set(versions))


def test_a_lower_version_is_refused(office, capsys):
    assert sign(office, "--list-version", "7") == 0
    assert sign(office, "--list-version", "7") == 78
    assert "expected a higher one" in capsys.readouterr().err


@pytest.mark.parametrize("hours", ["0", "-1", "169"])
def test_a_life_that_no_list_may_have_is_refused(office, hours, capsys):
    assert sign(office, "--hours", hours) == 78
    assert "expected 1 to 168" in capsys.readouterr().err
    assert not (office / "list.signed").exists()


def test_a_key_that_the_policy_does_not_name_signs_nothing(office, capsys):
    key = ["hotlist", "key", str(office / "other.key"), "--no-passphrase"]
    assert main(key) == 0
    assert len(load_public_file((office / "other.pub").read_bytes(), place="other").spki) == 91
    assert (office / "other.key").stat().st_mode & 0o077 == 0
    assert sign(office, key="other.key") == 77
    assert "the policy does not name this key" in capsys.readouterr().err
    assert main(key) == 78


def test_a_key_under_a_passphrase_signs_with_it_alone(office, capsys):
    (office / "words").write_text("correct horse battery\n")
    (office / "others").write_text("another passphrase\n")
    words = ("--passphrase-file", str(office / "words"))
    assert main(["hotlist", "key", str(office / "own.key"), *words]) == 0
    assert (office / "own.key").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    key = text64(load_public_file((office / "own.pub").read_bytes(), place="own").spki)
    named = json.dumps([{"agency": "PD", "key": key}]).encode()
    policy = encode_bundle(draft().but(hotlist_keys=named).signed())
    (office / "policy.bundle").write_bytes(policy)
    assert sign(office, "--passphrase-file", str(office / "others"), key="own.key") == 77
    assert "wrong passphrase" in capsys.readouterr().err
    assert sign(office, *words, key="own.key") == 0
    assert look(office, "verify") == 0
    assert "signed by PD" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("", "no entries"),
        ("7KXR482,CA,stolen-vehicle,PD,26-1,2020-01-01\n", "all 1 entries are over"),
    ],
    ids=["none", "expired"],
)
def test_a_list_that_would_take_all_back_is_signed_only_when_asked_for(
    office, lines, found, capsys
):
    (office / "list.csv").write_text(HEAD + lines)
    assert sign(office) == 66
    assert found in capsys.readouterr().err
    assert not (office / "list.signed").exists()
    assert sign(office, "--empty") == 0
    assert peek_hotlist((office / "list.signed").read_bytes()).count == 0


def test_empty_is_not_said_of_a_list_with_entries(office, capsys):
    assert sign(office, "--empty") == 66
    assert "there are 2 entries" in capsys.readouterr().err


def test_a_wrong_table_signs_nothing(office, capsys):
    (office / "list.csv").write_text(HEAD + "7KX*482,CA,stolen-vehicle,PD,26-1,2030-01-01\n")
    assert sign(office) == 66
    told = capsys.readouterr().err
    assert "line 2: found no plate" in told
    assert "7KX" not in told
    assert not (office / "list.signed").exists()


def test_a_list_that_was_changed_does_not_verify(office, capsys):
    sign(office)
    path = office / "list.signed"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert look(office, "verify") == 65


@pytest.mark.parametrize("action", ["verify", "near-misses"])
def test_what_is_no_signed_list_is_named_with_what_was_expected(office, action, capsys):
    (office / "list.signed").write_bytes((office / "list.csv").read_bytes())
    assert look(office, action) == 65
    told = capsys.readouterr().err
    assert told.startswith(f"homeplate: {office / 'list.signed'}: ")
    assert "expected what `homeplate hotlist sign` wrote" in told
    assert sign(office) == 65  # and it is not written over
    assert "list.signed: " in capsys.readouterr().err


def test_policy_and_root_in_each_others_place_are_told(office, capsys):
    (office / "both").write_bytes((office / "policy.bundle").read_bytes())
    (office / "policy.bundle").write_bytes((office / "root.json").read_bytes())
    (office / "root.json").write_bytes((office / "both").read_bytes())
    assert sign(office) == 79
    assert "a policy bundle; expected root.json. Are the two files swapped?" in (
        capsys.readouterr().err
    )


def test_a_state_and_an_agency_that_nobody_knows_are_signed_and_told_without_a_line(office, capsys):
    lines = (
        f"7KXR482,ZZ,stolen-vehicle,PD,26-1,{SOON}\n"
        f"3CEH915,MX-BCN,stolen-vehicle,pd,26-2,{SOON}\n"
        f"8ABC123,,stolen-vehicle,Sheriff,26-3,{SOON}\n"
    )
    (office / "list.csv").write_text(HEAD + lines)
    assert sign(office) == 0
    told = capsys.readouterr().err
    assert "note: 1 of 3 entries have a state that is none of" in told
    assert "note: 1 of 3 entries have an agency that the policy does not name" in told
    assert not re.search("ZZ|Sheriff|7KX|8ABC", told)


def test_a_usual_list_is_signed_without_a_note(office, capsys):
    assert sign(office) == 0
    assert capsys.readouterr().err == ""


def test_no_near_miss_raises_an_alert(office, capsys):
    sign(office)
    capsys.readouterr()
    assert look(office, "near-misses", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tried"] == 2 * 7 * 35
    assert (found["listed"], found["alerts"], found["false_alert_rate"]) == (0, 0, 0.0)
    assert look(office, "near-misses") == 0
    assert re.search(r"false alert rate +0\.000000", capsys.readouterr().out)


RULES = GateRules(mode="hits-only", min_hit_confidence=0.9, min_hit_frames=3)


def test_a_neighbour_that_is_listed_itself_is_no_false_alert():
    found = count_near_misses(make_list("7KXR482", "7KXR483"), RULES, now_ms=NOON_MS)
    assert (found.tried, found.listed, found.alerts) == (2 * (7 * 35 - 1), 2, 0)


def test_a_sample_is_a_sample_and_progress_is_told():
    told = []
    found = count_near_misses(
        make_list("7KXR482", "3CEH915", "8ABC123"),
        RULES,
        now_ms=NOON_MS,
        sample=2,
        report=lambda *figures: told.append(figures),
    )
    assert (found.plates, found.sampled, found.tried) == (3, 2, 2 * 7 * 35)
    assert told == [(0, 2), (1, 2), (2, 2)]


@dataclass(frozen=True)
class LooseList:
    """Stands for matching that takes 0 for O: what the evaluation is there to find."""

    whole: Hotlist

    @property
    def plates(self):
        return self.whole.plates

    def find(self, plate, *, now_ms):
        return self.whole.find(plate.replace("0", "O"), now_ms=now_ms)


def test_the_evaluation_finds_matching_that_is_loose():
    found = count_near_misses(LooseList(make_list("7KXRO82")), RULES, now_ms=NOON_MS)
    assert found.alerts == 1
    assert found.false_alert_rate == 1 / (7 * 35)


def test_the_evaluation_finds_a_gate_that_says_nothing_at_all():
    found = count_near_misses(make_list("7KXR482"), RULES, now_ms=NOON_MS + 99 * 3_600_000)
    assert (found.alerts, found.silent) == (0, 1)


def test_the_bench_measures_a_real_list():
    figures = measure(2_000, lookups=50, seed=3)
    assert figures.entries == 2_000
    assert figures.memory_mb < 0.1
    assert min(figures.find_hit_us, figures.find_miss_us, figures.load_s) > 0


GOOD = Figures(
    entries=1_000_000,
    sealed_mb=40.0,
    load_s=3.0,
    find_hit_us=50.0,
    find_miss_us=50.0,
    memory_mb=64.0,
    grown_mb=64.0,
    peak_mb=300.0,
)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("name", LIMITS)
def test_the_bench_fails_where_a_figure_is_over_its_limit(name, as_json, capsys):
    assert report(GOOD, as_json=as_json) == 0
    assert "OVER" not in capsys.readouterr().out
    assert report(replace(GOOD, **{name: LIMITS[name] + 0.1}), as_json=as_json) == 1
    said = capsys.readouterr().out
    assert json.loads(said)["over"] == [name] if as_json else said.count("OVER") == 1


def test_the_bench_of_the_hotlist_is_part_of_what_ci_runs():
    root = Path(__file__).parents[2]
    assert "deploy/dev bench " in (root / ".ci/run").read_text()
    (line,) = re.findall(r"^  bench\) .*", (root / "deploy/dev").read_text(), re.MULTILINE)
    assert "$bin/homeplate bench hotlist" in line


def test_the_bench_prints_its_figures(capsys):
    assert main(["bench", "hotlist", "--entries", "500", "--lookups", "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 500
    assert main(["bench", "hotlist", "--entries", "500", "--lookups", "10"]) == 0
    assert "look-up, a hit" in capsys.readouterr().out
