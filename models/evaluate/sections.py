"""The lower parts of the report: confidence, sweep, confusions, clips, networks, wrong reads."""

from html import escape
from typing import Any

from models.evaluate import charts, panels
from models.evaluate.figures import show_percent
from models.evaluate.peers import GOAL_CORNER_PERCENT, GOAL_GFLOP

Tree = dict[str, Any]

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FEW = 12
"""Confusions that are listed by name."""


def draw_confidence(tree: Tree) -> str:
    """Return reliability diagrams and the curves of the threshold."""
    held = tree["held_back"]
    real = {name: one for name, one in tree["sets"].items() if "confidence" in one}
    figures = []
    if held:
        confidence = held["confidence"]
        figures.append(
            panels.draw_reliability("Characters, rendered and held back", confidence["characters"])
        )
        figures.append(
            panels.draw_reliability("Whole plates, rendered and held back", confidence["plates"])
        )
        figures.append(panels.draw_thresholds("Thresholds, rendered", confidence))
    for name, one in real.items():
        figures.append(
            panels.draw_reliability(f"Whole plates, {name}", one["confidence"]["plates"])
        )
    if real:
        figures.append(panels.draw_coverage(real))
    if not figures:
        return ""
    return (
        "<h2>Confidence</h2><p>A plate's confidence is the probability that its whole text is "
        "right: the characters' probabilities times that of nothing overlooked between and beside "
        "them. On the dashed line it means what it says. Grey bars: how many plates. Below "
        f"<b>{tree['threshold']:g}</b> the agent abstains; the log-probabilities are divided by "
        f"{tree['temperature']:g} first. Temperature and threshold come from rendered plates by "
        "rule (<code>python -m models.evaluate.calibrate</code>); real pictures only check "
        f'them.</p><div class="charts">{"".join(figures)}</div>'
    )


def draw_sweep(tree: Tree) -> str:
    """Return one chart a condition."""
    if not tree["sweep"]:
        return ""
    figures = [panels.draw_axis(name, one) for name, one in tree["sweep"].items()]
    held = tree["held_back"]
    errors = held["corner_error_percent"] if held else None
    corner = ""
    if errors:
        state = "met" if errors["median"] <= GOAL_CORNER_PERCENT else "short"
        corner = (
            f" On {errors['plates']} held-back pictures under random conditions the corners are "
            f'<span class="{state}">{errors["median"]:.1f} %</span> of the width off (median; p90 '
            f"{errors['p90']:.1f} %; wanted ≤ {GOAL_CORNER_PERCENT:g} %), "
            f"{show_percent(held['found']['percent'])} % of the plates are found."
        )
    return (
        f"<h2>Where it ends: rendered sweep</h2><p>The same {tree['sweep_plates']} vehicles at "
        "every point of a chart, 1280 by 720; one condition changes, the others stay easy (plate "
        "120 pixels wide, 10° yaw, camera 8° down, little blur and noise). Bands: 95 % (Wilson)."
        f'{corner}</p><div class="charts">{"".join(figures)}</div>'
    )


def draw_confusions(tree: Tree) -> str:
    """Return the matrix over all real sets, and the most frequent by name."""
    counts: dict[tuple[str, str], int] = {}
    for one in tree["sets"].values():
        for row in one.get("confusions", ()):
            pair = (row["true"], row["read"])
            counts[pair] = counts.get(pair, 0) + row["count"]
    if not counts:
        return ""
    known = {pair: n for pair, n in counts.items() if set("".join(pair)) <= set(ALPHABET)}
    first = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:FEW]
    rows = "".join(
        f"<tr><td>{pair[0] or 'nothing'}</td><td>{pair[1] or 'nothing'}</td>"
        f'<td class="n">{count}</td></tr>'
        for pair, count in first
    )
    return (
        "<h2>Confusions</h2><p>All real sets together, best guesses. Rows: what was there; "
        "columns: what was read; the dot stands for nothing: a character too many, or one missing. "
        "Labels of openalpr_us_crops write 0 for O on vanity plates, so O and 0 count there "
        "as labelled.</p>"
        f'<div class="charts"><div class="card">{charts.draw_matrix(known, ALPHABET)}</div>'
        f'<div class="card"><h3>Most frequent</h3><table><tr><th>there</th><th>read</th>'
        f'<th class="n">times</th></tr>{rows}</table></div></div>'
    )


def draw_clips(tree: Tree) -> str:
    """Return the table of recorded clips."""
    rows = []
    for name, one in tree["clips"].items():
        truth = one["truth"]
        said = (
            f"{truth['right']} of {truth['vehicles']} right, {truth['wrong']} wrong, "
            f"{truth['abstained']} abstained"
            if truth
            else "no truth given"
        )
        rows.append(
            f'<tr><td>{escape(name)}</td><td class="n">{one["frames"]}</td>'
            f'<td class="n">{one["answered"]}</td><td>{said}</td>'
            f'<td class="n">{one["cpu_ms_per_frame"]:.1f}</td></tr>'
        )
    if not rows:
        return ""
    return (
        "<h2>Passages</h2><p>Recorded clips, with tracking and votes, up to the gate.</p>"
        '<table><tr><th>clip</th><th class="n">frames</th><th class="n">answered reads</th>'
        f'<th>against the truth</th><th class="n">CPU ms a frame</th></tr>{"".join(rows)}</table>'
    )


def draw_networks(tree: Tree) -> str:
    """Return work and size of both networks."""
    rows = []
    for name, one in tree["networks"].items():
        goal = GOAL_GFLOP[name]
        state = "met" if 2 * one["gmac"] <= goal else "short"
        rows.append(
            f"<tr><td>{name}</td><td>{' by '.join(str(side) for side in one['input'])}</td>"
            f'<td class="n"><span class="{state}">{2 * one["gmac"]:.3f}</span>'
            f"<small>wanted ≤ {goal:g}</small></td>"
            f'<td class="n">{one["gflop"]:.3f}</td><td class="n">{one["file_bytes"] / 1e6:.2f}</td>'
            "</tr>"
        )
    return (
        "<h2>Networks</h2><p>Counted from the ONNX files: ONNX Runtime runs each graph once as it "
        "stands and notes the shapes.</p><table><tr><th>network</th><th>input</th>"
        '<th class="n">GFLOP, convolutions and products</th><th class="n">all operations</th>'
        f'<th class="n">MB</th></tr>{"".join(rows)}</table>'
    )


def draw_wrong(tree: Tree) -> str:
    """Return the texts of wrong reads, where they were asked for."""
    if "wrong_reads" not in tree:
        return ""
    blocks = []
    for name, reads in tree["wrong_reads"].items():
        shown = ", ".join(
            f"<code>{escape(one['true'])} → {escape(one['read'])}</code>"
            f"{'' if one['answered'] else ' (abstained)'}"
            for one in reads
        )
        blocks.append(f"<h3>{escape(name)}: {len(reads)}</h3><p>{shown or 'none'}</p>")
    return (
        '<h2>Wrong reads</h2><p class="warn">Asked for with --with-plates. These are plates of '
        f"real people: keep this file to yourself and delete it after use.</p>{''.join(blocks)}"
    )
