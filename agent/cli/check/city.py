"""Policy, hotlist, route, certificate and receipts: what ties the unit to its city."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.base.clock import from_ms, to_ms
from agent.base.errors import PolicyError
from agent.base.files import read_bounded
from agent.base.health_file import Facts, Health
from agent.base.lanes import Lane
from agent.cli.check.findings import Finding, bad, doubt, good, grade, safely, unknown
from agent.cli.check.subject import Failure, LogFacts, Subject, require
from agent.cli.check.words import tell_instant, tell_span
from agent.cli.unit import KEY_LIMIT_BYTES
from agent.spool import SpoolReader
from agent.trust.bundle import Decision
from agent.trust.enrolment import read_certificate
from agent.trust.policy import Policy
from agent.trust.policy_history import NO_HISTORY, PolicyHistory, require_no_fall
from agent.uplink import Uplink

SOON: Final = timedelta(days=7)
LATE: Final = timedelta(hours=24)
VERY_LATE: Final = timedelta(days=7)


def look_at_city(subject: Subject) -> Iterator[Finding]:
    """Answer HP-301 to HP-305."""
    now, decision = subject.clock.now(), subject.decision
    history = NO_HISTORY if isinstance(subject.logs, Failure) else subject.logs.policies
    yield safely("HP-301", lambda: judge_policy(require(decision), history, now=now))
    yield safely("HP-302", lambda: look_at_hotlist(subject))
    if isinstance(decision, Failure):
        yield unknown("HP-303", "without a policy there is no address: see HP-301")
    else:
        policy = decision.policy
        yield safely("HP-303", lambda: judge_route(subject, policy))
    yield safely("HP-304", lambda: judge_certificate(subject, now=now))
    if isinstance(subject.logs, Failure):
        yield unknown("HP-305", "the logs cannot be read: see HP-201")
    else:
        logs = subject.logs
        yield safely("HP-305", lambda: judge_receipt(subject, logs))


def judge_policy(decision: Decision, history: PolicyHistory, *, now: datetime) -> Finding:
    """Judge HP-301; the signatures were verified when it was loaded."""
    policy = decision.policy
    age_s = (now - policy.issued_at).total_seconds()
    found = (
        f"version {decision.version} of {policy.city}, {tell_span(age_s)} old, "
        f"signed by {', '.join(decision.signed_by)}, "
        f"valid until {tell_instant(decision.expires_at)}"
    )
    try:
        require_no_fall(decision, history, place="the policy in force")
    except PolicyError as error:
        return bad("HP-301", f"{found}; {error}: nothing is collected or sent until it is back")
    if not policy.issued_at <= now < decision.expires_at:
        return bad("HP-301", f"{found}; it is {tell_instant(now)}")
    return grade("HP-301", found, is_bad=False, is_doubtful=decision.expires_at - now < SOON)


def look_at_hotlist(subject: Subject) -> Finding:
    """Answer HP-302 from what the watcher tells: the list itself is in its memory alone."""
    health = subject.health("watch")
    if health is None:
        why = "the watcher does not run, and the list is in its memory alone"
        return unknown("HP-302", why, remedy="start it and check again")
    return judge_hotlist(health.facts, now=subject.clock.now())


def judge_hotlist(facts: Facts, *, now: datetime) -> Finding:
    """Judge HP-302."""
    if facts.hotlist_version is None or facts.hotlist_expires_ms is None:
        if facts.mode == "hits-only":
            return bad("HP-302", "the watcher has none: it keeps nothing")
        return doubt("HP-302", "the watcher has none: no alerts")
    expires_at = from_ms(facts.hotlist_expires_ms)
    issued_ms = facts.hotlist_issued_ms or 0
    found = (
        f"version {facts.hotlist_version} with {facts.hotlist_entries} entries, "
        f"{tell_span((to_ms(now) - issued_ms) / 1000)} old, valid until {tell_instant(expires_at)}"
    )
    return bad("HP-302", found) if now >= expires_at else good("HP-302", found)


def judge_route(subject: Subject, policy: Policy) -> Finding:
    """Judge HP-303 by a TLS handshake; no request is sent. On a locked unit the sender knows."""
    health = subject.health("send")
    if health is not None and health.facts.locked:  # nobody else is let out, not even root
        return judge_requests(health)
    uplink = Uplink(
        policy.endpoint,
        certificate=subject.certificate,
        key=subject.credentials / "tls.key",
        timeout_s=subject.settings.uplink.timeout_s,
    )
    address = uplink.greet()
    return good("HP-303", f"{address} port {policy.endpoint.port}: pinned key, certificate taken")


def judge_requests(health: Health) -> Finding:
    """Judge HP-303 by what became of the sender's own requests: it makes one a minute at least."""
    failed = health.lately["failures"] + health.lately["errands_failed"]
    during = f"in the last {tell_span(health.lately_s)}"
    if failed:
        return bad("HP-303", f"{failed} of the sender's requests failed {during}: see its journal")
    return good("HP-303", f"the sender has its answers; none failed {during}")


def judge_certificate(subject: Subject, *, now: datetime) -> Finding:
    """Judge HP-304."""
    path = subject.certificate
    content = read_bounded(path, limit_bytes=KEY_LIMIT_BYTES)
    found = read_certificate(content, place=str(path))
    if found.unit != subject.settings.unit:
        text = f"{path}: of {found.unit}; the settings are those of {subject.settings.unit}"
        return bad("HP-304", text)
    begin = datetime.fromtimestamp(found.not_before_s, UTC)
    text = f"of {found.unit}, valid until {tell_instant(found.ends)}"
    valid = begin <= now < found.ends
    return grade("HP-304", text, is_bad=not valid, is_doubtful=found.ends - now < SOON)


def look_at_way_out(subject: Subject) -> Iterator[Finding]:
    """Answer HP-408."""
    yield safely("HP-408", lambda: judge_lock(subject.health("send")))


def judge_lock(health: Health | None) -> Finding:
    """Judge HP-408: a sender that found a way open has ended, so one that runs locked is proof."""
    if health is None:
        why = "the sender does not run; started locked, it ends where another way is open"
        return unknown("HP-408", why, remedy="see its journal, start it and check again")
    if health.facts.locked:
        return good("HP-408", "tried at its start and each minute since: nothing got out")
    return doubt("HP-408", "the sender was started by hand, nothing holds it to the endpoint")


def judge_receipt(subject: Subject, logs: LogFacts) -> Finding:
    """Judge HP-305: the age of the last receipt, when something waits for one."""
    spool = SpoolReader(subject.state / "spool")
    times = [spool.oldest_ms(lane) for lane in Lane]
    waiting_ms = min((time for time in times if time is not None), default=None)
    now_ms = to_ms(subject.clock.now())
    age = timedelta(milliseconds=now_ms - logs.receipt_ms)
    last = f"{tell_span(age.total_seconds())} ago" if logs.receipt_ms else "never"
    if waiting_ms is None:
        return good("HP-305", f"{last}; nothing waits")
    waited = timedelta(milliseconds=now_ms - waiting_ms)
    found = f"{last}; the oldest sealed read waits since {tell_span(waited.total_seconds())}"
    since = min(age, waited)
    return grade("HP-305", found, is_bad=since > VERY_LATE, is_doubtful=since > LATE)
