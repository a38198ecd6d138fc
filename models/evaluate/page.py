"""The report as one HTML page that needs nothing else: no script, no address, no picture."""

from html import escape
from typing import Any

from models.evaluate import charts, sections
from models.evaluate.figures import show_percent
from models.evaluate.peers import GOAL_CPU_MS, GOAL_FALSE_PERCENT
from models.evaluate.style import STYLE

Tree = dict[str, Any]

KEYS = (("strict", "strict"), ("folded", "O = 0, I = 1"), ("found", "found"), ("wrong", "wrong"))


def draw_page(tree: Tree) -> str:
    """Return the page."""
    parts = [
        draw_head(tree),
        draw_cards(tree),
        draw_sets(tree),
        sections.draw_confidence(tree),
        sections.draw_sweep(tree),
        sections.draw_confusions(tree),
        sections.draw_clips(tree),
        sections.draw_networks(tree),
        sections.draw_wrong(tree),
        draw_notes(tree),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Homeplate: evaluation</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def draw_head(tree: Tree) -> str:
    """Return title, date and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in tree["versions"].items())
    networks = ", ".join(
        f"{name} {one['version']} ({one['sha256'][:12]})" for name, one in tree["networks"].items()
    )
    return (
        "<h1>How well Homeplate reads plates</h1>"
        f'<p class="soft">{escape(tree["made_at"])} · {escape(networks)} · '
        f"{escape(tree['machine'])} · {escape(versions)}</p>"
    )


def draw_cards(tree: Tree) -> str:
    """Return the first figures to look at."""
    cards = []
    for name, one in tree["sets"].items():
        if "strict" not in one:
            continue
        peer = one["peer"]["strict"]
        beside = f"{escape(tree['peer']['name'])} {peer:.1f} %" if peer else "no published figure"
        cards.append(
            f'<div class="card"><span class="soft">{escape(name)}, strict</span>'
            f"<b>{show_percent(one['strict']['percent'])} %</b>"
            f'<span class="soft">{show_interval(one["strict"])} · {beside}</span></div>'
        )
    times = [one["cpu_ms"]["median"] for one in tree["sets"].values() if not one["reader_alone"]]
    if times:
        cards.append(
            '<div class="card"><span class="soft">CPU a whole picture, slowest set</span>'
            f'<b>{max(times):.1f} ms</b><span class="soft">{escape(tree["peer"]["name"])} '
            f"{tree['peer']['cpu_ms']:.0f} ms · wanted {GOAL_CPU_MS:.0f} ms</span></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def draw_sets(tree: Tree) -> str:
    """Return the table of sets."""
    rows = [draw_set(name, one) for name, one in tree["sets"].items() if "strict" in one]
    empty = [draw_empty(name, one) for name, one in tree["sets"].items() if one_is_empty(one)]
    heads = "".join(f"<th>{title}</th>" for _, title in KEYS)
    table = (
        f'<div class="wide"><table><tr><th>set</th>{heads}<th class="n">abstained</th>'
        f'<th class="n">corner error</th><th class="n">CPU ms</th></tr>{"".join(rows)}</table>'
        "</div>"
    )
    peer = escape(tree["peer"]["name"])
    return (
        "<h2>Real pictures</h2><p>Strict: every character of the best guess is right, also where "
        "the agent abstains. Wrong: answered and not right. Found: a find's centre lies in the "
        f"labelled box. Whiskers: 95 % (Wilson). The upright mark is {peer}. Below each figure: "
        "the peer's, and what we want.</p>"
        f"{table if rows else ''}{''.join(empty)}"
    )


def one_is_empty(one: Tree) -> bool:
    """Tell whether a set holds pictures without plates."""
    return bool(one["without_plates"]["pictures"])


def draw_set(name: str, one: Tree) -> str:
    """Return the row of one set."""
    alone = "reader alone" if one["reader_alone"] else "whole road"
    cells = [
        "<td>-</td>" if key == "found" and one["reader_alone"] else draw_share(one, key)
        for key, _ in KEYS
    ]
    errors = one["corner_error_percent"]
    corner = f"{errors['median']:.1f} %<small>p90 {errors['p90']:.1f} %</small>" if errors else "-"
    return (
        f"<tr><td><b>{escape(name)}</b><small>{one['plates']} plates, {alone}</small></td>"
        f'{"".join(cells)}<td class="n">{show_percent(one["abstained"]["percent"])} %</td>'
        f'<td class="n">{corner}</td>'
        f'<td class="n">{one["cpu_ms"]["median"]:.1f}<small>p90 {one["cpu_ms"]["p90"]:.1f}</small>'
        "</td></tr>"
    )


def draw_share(one: Tree, key: str) -> str:
    """Return a cell with bar, figure, peer and goal."""
    share, peer, goal = one[key], one["peer"].get(key), one["goal"].get(key)
    percent = share["percent"]
    if percent is None:
        return "<td>-</td>"
    bar = charts.draw_bar(percent, tuple(share["interval_95_percent"]), peer)
    notes = [] if peer is None else [f"peer {peer:.1f}"]
    if goal is not None:
        met = percent <= goal if key == "wrong" else percent >= goal
        sign = "≤" if key == "wrong" else "≥"
        notes.append(f'<span class="{"met" if met else "short"}">wanted {sign} {goal:g}</span>')
    return (
        f"<td><b>{percent:.1f}</b>{bar}<small>{show_interval(share)}"
        f"{''.join(f' · {note}' for note in notes)}</small></td>"
    )


def draw_empty(name: str, one: Tree) -> str:
    """Return what was read where there is nothing to read."""
    empty = one["without_plates"]
    percent = 100 * empty["pictures_with_reads"] / empty["pictures"]
    state = "met" if percent <= GOAL_FALSE_PERCENT else "short"
    seen = " (the detector's training saw these pictures)" if one["use"].startswith("train") else ""
    return (
        f"<p><b>{escape(name)}</b>: {empty['pictures_with_reads']} of {empty['pictures']} pictures "
        f'without a plate gave a read{seen}: <span class="{state}">{percent:.2f} %</span>, wanted '
        f"≤ {GOAL_FALSE_PERCENT:g} %.</p>"
    )


def draw_notes(tree: Tree) -> str:
    """Return how all this was measured."""
    return (
        "<h2>How this was measured</h2><p>Pictures go through the agent's own road (detector, "
        "rectifier, reader, decoder, the rule to abstain), one at a time; times are CPU times of "
        "the process, decoding of the file excluded. Where a picture is nothing but the plate, "
        "its labelled corners are used. The peer's figures were measured once on the same "
        "pictures. The failures of these sets were looked at during development: they are "
        "development sets. "
        f"The whole run took {tree['seconds'] // 60} min {tree['seconds'] % 60} s.</p>"
    )


def show_interval(share: Tree) -> str:
    """Return the 95 % interval of a share."""
    interval = share["interval_95_percent"]
    return f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else "no case"
