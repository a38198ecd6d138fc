"""Every state that a power cut may leave, recovered by the agent; then each sync left out."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from tests.custody.histories import DIRECTED, explore, hunt

pytestmark = [pytest.mark.custody, pytest.mark.slow]

STATES = 10_000
SEEDS, LONG_SEEDS = range(-DIRECTED, 28), range(-DIRECTED, 200)
DRAWS, LONG_DRAWS = 2, 4
HUNTED = range(-DIRECTED, 8)
SYNCS = {
    "sync audit: make_directory < AuditLog.__init__",
    "sync lane: SpoolReader.sync_deletions < Deletion._is_gone_for_good < Deletion.finish",
    "sync lane: SpoolWriter._file < SpoolWriter.put < Keeping._put",
    "sync lane: remove_durably < SpoolReader.delete < Deletion._carry_out",
    "sync lane: rename_durably < SpoolWriter._finish < SpoolWriter._close",
    "sync lane: rename_durably < SpoolWriter._finish < SpoolWriter.recover",
    "sync log: AuditLog.__init__",
    "sync spool: make_directory < SpoolWriter._make_directories < SpoolWriter._hold",
    "sync state: make_directory < AuditLog.__init__",
    "sync state: make_directory < SpoolWriter._make_directories < SpoolWriter._hold",
    "sync_data checkpoints: NoteFile.append < AuditLog.checkpoint",
    "sync_data checkpoints: NoteFile.append < AuditLog.checkpoint < AuditLog.close",
    "sync_data checkpoints: NoteFile.append < AuditLog.checkpoint < AuditLog._mend",
    "sync_data checkpoints: NoteFile.append < AuditLog.checkpoint < AuditLog._sign_in_time",
    "sync_data checkpoints: NoteFile.append < AuditLog.checkpoint < Keeping._sign",
    "sync_data checkpoints: NoteFile.append < AuditLog.checkpoint < Sending._sign",
    "sync lane: remove_durably < SpoolWriter._abandon < SpoolWriter._file",
    "sync lane: remove_durably < SpoolWriter._abandon < SpoolWriter.put",
    "sync lane: rename_durably < SpoolWriter._finish < SpoolWriter._retry_unfinished",
    "sync_data segment: AppendFile.wait_for_cut < SpoolWriter.put < Keeping._put",
    "sync_data checkpoints: NoteFile.recover < AuditLog.__init__",
    "sync_data entries: AppendFile.append < AuditLog._write < AuditLog.append_all",
    "sync_data segment: AppendFile.append < SpoolWriter.put < Keeping._put",
    "sync_data segment: SpoolReader.sync_leftover < _leftover < survey_spool.<locals>.<genexpr>",
}
"""Where the agent waits for the disk: the call, what it makes durable, and who calls."""


@pytest.fixture(scope="module")
def workers():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def lives(workers):
    long = os.environ.get("HOMEPLATE_CUSTODY") == "long"
    seeds, draws = (LONG_SEEDS, LONG_DRAWS) if long else (SEEDS, DRAWS)
    return [*workers.map(partial(explore, draws=draws), seeds)]


def test_no_state_that_a_power_cut_leaves_breaks_a_promise(lives, counts):
    states = set().union(*(life.seen for life in lives))
    kills, cuts = sum(life.kills for life in lives), sum(life.cuts for life in lives)
    counts["crash states"] = (
        f"{len(states)} in {len(lives)} histories with {kills} kills and {cuts} power cuts, "
        f"{sum(len(life.violations) for life in lives)} violations"
    )
    assert [life.violations for life in lives if life.violations] == []
    assert len(states) >= STATES


def test_every_call_site_of_a_sync_is_known(lives):
    assert set().union(*(life.sites for life in lives)) <= SYNCS


def test_each_sync_that_is_left_out_is_caught(workers, counts):
    sites = sorted(SYNCS)
    found = [*workers.map(partial(hunt, seeds=HUNTED, draws=0), sites)]
    survivors = [site for site, tally in zip(sites, found, strict=True) if not tally.violations]
    counts["mutants (a sync left out)"] = f"{len(sites) - len(survivors)} of {len(sites)} caught"
    assert survivors == []
