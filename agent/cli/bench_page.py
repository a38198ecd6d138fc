"""The report of `bench video` as one HTML page that needs nothing else: no script, no address."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from agent.cli.bench_charts import Bar, Curve, draw_bars, draw_curves, draw_histogram, name_interval
from agent.cli.bench_report import CAMERA, HISTOGRAM_MS, NETWORKS, STAGES, Tree

STYLE: Final = """
:root{color-scheme:light dark;--paper:#fbfaf7;--ink:#1d2430;--soft:#5a6373;--grid:#dcd8cf;
--card:#fff;--net:#2e5fa3;--plain:#16735b;--camera:#9a8a5a;--bad:#b4372b}
@media(prefers-color-scheme:dark){:root{--paper:#14171c;--ink:#e6e8ec;--soft:#a3acba;
--grid:#323843;--card:#1b1f26;--net:#7fb0f5;--plain:#4cc29f;--camera:#cbb878;--bad:#ef8d80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 80px}
h1{font-size:27px;margin:0 0 4px}
h2{font-size:20px;margin:46px 0 4px;border-top:1px solid var(--grid);padding-top:22px}
h3{font-size:15px;margin:18px 0 6px}
p{margin:4px 0 12px;max-width:76ch}.soft,caption,summary{color:var(--soft);font-size:14px}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14.5px;width:100%}
caption{text-align:left;padding:0 0 6px}
th{text-align:left;font-weight:600;vertical-align:bottom}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--grid)}
tbody td,thead th+th{text-align:right;white-space:nowrap}td.left{text-align:left;white-space:normal}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:14px 0}
.card{background:var(--card);border:1px solid var(--grid);border-radius:8px;padding:10px 14px}
.card b{display:block;font-size:25px;line-height:1.25}.card span{color:var(--soft);font-size:14px}
.charts{display:grid;gap:6px 28px;
grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr))}
svg{width:100%;height:auto;display:block}
svg text{font-size:12.5px;fill:var(--ink);font-variant-numeric:tabular-nums}
.end{text-anchor:end}.mid{text-anchor:middle}.grid{stroke:var(--grid);fill:none}
rect.net{fill:var(--net)}rect.plain{fill:var(--plain)}rect.camera{fill:var(--camera)}
.line{fill:none;stroke-width:2}.line.net{stroke:var(--net)}.line.plain{stroke:var(--plain)}
.line.camera{stroke:var(--camera);stroke-dasharray:6 3}.line.bad{stroke:var(--bad)}
.keys span{margin-right:16px;white-space:nowrap;font-size:14px}
.key{display:inline-block;width:16px;height:4px;border-radius:2px;margin:0 6px 3px 0}
.key.net{background:var(--net)}.key.plain{background:var(--plain)}
.key.camera{background:var(--camera)}.key.bad{background:var(--bad)}
.held{color:var(--plain);font-weight:600}.broken{color:var(--bad);font-weight:600}
details{margin:6px 0 14px}summary{cursor:pointer}
"""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def draw_page(tree: Tree) -> str:
    """Return the page."""
    clips = tree["clips"]
    body = [draw_head(tree), draw_overview(clips), draw_limits(tree), draw_changes(tree)]
    body += [draw_clip(clip) for clip in clips]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Homeplate: benchmark</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def draw_head(tree: Tree) -> str:
    """Return the title and where it was measured."""
    machine = tree["machine"]
    return (
        "<h1>Homeplate: benchmark on recorded video</h1>"
        f'<p class="soft">{escape(machine["processor"])}, {machine["cores_allowed"]} of '
        f"{machine['cores']} cores, {escape(machine['system'])}, Python {machine['python']}, "
        f"ONNX Runtime {machine['onnxruntime']}. Rendered clips: no real plate. CPU times of "
        "different machines are compared by the yardstick: fixed work in the same process, in "
        "the same minutes.</p>"
    )


def draw_overview(clips: Sequence[Tree]) -> str:
    """Return one line a clip."""
    heads = ("Clip", "Frames", "Shed", "Motionless", "Passed over", "CPU a frame", "In yardsticks",
             "Outside networks", "GFLOP a frame", "Read exactly a minute", "Exact", "Wrong",
             "Memory")  # fmt: skip
    rows = [
        (
            escape(clip["clip"]),
            f"{clip['frames']}",
            f"{clip['frames_shed']}",
            f"{clip['frames_motionless']}",
            f"{clip['frames_passed']}",
            f"{clip['road_cpu_ms_per_frame']:.2f} ms",
            f"{clip['kernels_per_frame']:.3f}",
            f"{100 * clip['share_outside_networks']:.0f} %",
            f"{clip['gflop_per_frame']:.3f}",
            f"{clip['truth']['right_per_minute']:.0f}" if clip["truth"] else "-",
            show_share(clip["truth"]),
            f"{clip['truth']['wrong']}" if clip["truth"] else "-",
            f"{clip['peak_rss_mib']:.0f} MiB",
        )
        for clip in clips
    ]
    return draw_table("The road from motion to log; decoding left out", heads, rows)


def show_share(truth: Tree | None) -> str:
    """Return the strict accuracy in percent."""
    exact = truth["strict_accuracy"] if truth else None
    return "-" if exact is None else f"{100 * exact:.1f} %"


def draw_limits(tree: Tree) -> str:
    """Return the limits, the broken ones first."""
    rows = []
    for one in sorted(tree["limits"], key=lambda row: bool(row["held"])):
        line = f"≤ {one['at_most']:g}" if one["at_most"] is not None else f"≥ {one['at_least']:g}"
        found = "not measured" if one["found"] is None else f"{one['found']:.4g}"
        word = "held" if one["held"] else "broken"
        state = f'<span class="{word}">{word}</span>'
        name = f"{escape(one['clip'])}: {escape(one['figure'])}"
        rows.append((name, found, line, state, escape(one["reason"])))
    if not rows:
        return ""
    heads = ("Limit", "Found", "Line", "State", "Reason")
    return "<h2>Limits</h2>" + draw_table("What CI fails on", heads, rows, wide_last=True)


def draw_changes(tree: Tree) -> str:
    """Return the figures beside those of the baseline."""
    rows = [
        (
            f"{escape(row['clip'])}: {escape(row['name'])}",
            f"{row['before']:.4g}",
            f"{row['now']:.4g}",
            "-" if row["change"] is None else f"{100 * row['change']:+.1f} %",
        )
        for row in tree["compared"]
    ]
    if not rows:
        return ""
    heads = ("Figure", "Before", "Now", "Change")
    return "<h2>Against the baseline</h2>" + draw_table("", heads, rows)


def draw_clip(clip: Tree) -> str:
    """Return all of one clip."""
    charts = [
        ("CPU milliseconds a frame, by stage", draw_stages(clip)),
        ("How long a frame takes", draw_latency(clip)),
        ("Reads over time", draw_reads(clip)),
        ("Memory over time", draw_memory(clip)),
    ]
    shown = "".join(f"<div><h3>{name}</h3>{chart}</div>" for name, chart in charts if chart)
    return (
        f'<h2>{escape(clip["clip"])}</h2>{draw_cards(clip)}<div class="charts">{shown}</div>'
        f"{draw_boards(clip)}"
    )


def draw_cards(clip: Tree) -> str:
    """Return the first figures to look at."""
    frame = clip["latency_ms"]["frame"] or {"p50": 0.0, "p95": 0.0}
    cards = [
        (f"{clip['road_cpu_ms_per_frame']:.2f} ms", "CPU a frame, without decoding"),
        (f"{clip['frames_per_s']:.0f}", "frames a second"),
        (f"{clip['plate_reads_per_minute']:.0f}", "plate reads a minute of the clip"),
        (f"{clip['frames_shed']} of {clip['frames']}", "frames shed"),
        (f"{frame['p50']:.1f} / {frame['p95']:.1f} ms", "p50 / p95 of a frame"),
    ]
    if clip["truth"]:
        share = show_share(clip["truth"])
        cards.insert(0, (share, f"of {clip['truth']['vehicles']} vehicles read exactly"))
        cards.insert(1, (f"{clip['truth']['right_per_minute']:.0f}", "exact vehicles a minute"))
    items = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in cards
    )
    return f'<div class="cards">{items}</div>'


def draw_stages(clip: Tree) -> str:
    """Return what each stage costs."""
    spent = clip["cpu_ms_per_frame"]
    bars = [
        Bar(name=name, value=spent[stage], style=style_of(stage), note=f"{spent[stage]:.3f} ms")
        for stage, name in STAGES.items()
    ]
    label = f"{clip['clip']}: CPU milliseconds a frame of each stage"
    keys = (
        '<p class="keys"><span><i class="key net"></i>networks</span>'
        '<span><i class="key plain"></i>everything else</span>'
        '<span><i class="key camera"></i>the camera\'s work on a unit</span></p>'
    )
    return draw_bars(bars, label=label) + keys


def style_of(stage: str) -> str:
    """Return the colour of a stage."""
    if stage in NETWORKS:
        return "net"
    return "camera" if stage in CAMERA else "plain"


def draw_latency(clip: Tree) -> str:
    """Return how the times of the frames are spread, with the numbers below."""
    times = clip["latency_ms"]["frame"]
    if times is None:
        return ""
    since = "from the sensor" if clip["realtime"] else "from handed over"
    label = (
        f"{clip['clip']}: milliseconds {since} to done with; "
        f"half take {times['p50']:.1f} or less, 95 % {times['p95']:.1f} or less"
    )
    counts = times["histogram"]
    rows = [
        (name_interval(HISTOGRAM_MS, index, "ms"), f"{count}")
        for index, count in enumerate(counts)
        if count
    ]
    chart = draw_histogram(HISTOGRAM_MS, counts, label=label, unit="ms")
    return chart + fold("Numbers", draw_table("", ("Time", "Frames"), rows))


def draw_reads(clip: Tree) -> str:
    """Return plate reads, vehicles and shed frames a second over the clip."""
    moments = clip["moments"]
    kinds = (
        ("crops_read", "plate reads", "net"),
        ("vehicles", "vehicles", "plain"),
        ("frames_shed", "frames shed", "bad"),
    )
    curves = [
        Curve(name=name, style=style, points=list(slopes(moments, key)))
        for key, name, style in kinds
    ]
    label = f"{clip['clip']}: plate reads, vehicles and shed frames a second over the clip"
    return draw_curves(curves, label=label, x_name="seconds", y_name="a second")


def slopes(moments: Sequence[Tree], key: str) -> Iterable[tuple[float, float]]:
    """Yield how much a counter grew a second, between each two moments."""
    for one, other in pairwise(moments):
        span_s = other["at_s"] - one["at_s"]
        if span_s > 0:
            yield other["at_s"], (other[key] - one[key]) / span_s


def draw_memory(clip: Tree) -> str:
    """Return the memory in use over the clip."""
    points = [(moment["at_s"], moment["rss_mib"]) for moment in clip["moments"]]
    curve = Curve(name="resident memory", style="plain", points=points)
    label = f"{clip['clip']}: MiB of memory over the clip, at most {clip['peak_rss_mib']:.0f}"
    return draw_curves([curve], label=label, x_name="seconds", y_name="MiB")


def draw_boards(clip: Tree) -> str:
    """Return what a Raspberry Pi would do, or does."""
    if board := clip["board"]:
        now = "; ".join(board["throttled_now"]) or "not throttled"
        celsius = "unknown" if board["celsius"] is None else f"{board['celsius']:.1f} °C"
        return (
            f"<p>Measured on this {escape(board['name'])}: "
            f"{100 * board['share_at_30_fps']:.0f} % of {board['cores']} cores at 30 frames a "
            f"second, decoding included; {celsius}; {escape(now)}.</p>"
        )
    rows = [
        (
            f"projected {escape(one['board'])}",
            f"{one['core_ms']:.1f}",
            f"{100 * one['share_at_30_fps']:.0f} %",
            f"{one['max_fps']:.0f}",
            f"{one['reads_per_minute']:.0f}",
        )
        for one in clip["projected"]
    ]
    heads = ("Board", "Core-ms a frame", "Of 4 cores at 30 fps", "Most fps", "Plate reads a minute")
    return draw_table("Projected from published rates, not measured", heads, rows)


def fold(name: str, content: str) -> str:
    """Return content that opens when it is asked for."""
    return f"<details><summary>{escape(name)}</summary>{content}</details>"


def draw_table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, wide_last: bool = False
) -> str:
    """Return a table; cells are HTML already."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = []
    for row in rows:
        first, rest = row[0], list(row[1:])
        last = f'<td class="left">{rest.pop()}</td>' if wide_last else ""
        cells = "".join(f"<td>{cell}</td>" for cell in rest) + last
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{name}<thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
