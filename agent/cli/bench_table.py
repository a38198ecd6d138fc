"""The figures of `bench video` as text for people."""

from math import ceil
from typing import Final

from agent.cli.bench_report import STAGES, Tree

MEMORY_TIMES: Final = 8
"""So many times of a clip are shown with their memory."""


def draw_clip(report: Tree, *, with_reads: bool) -> str:
    """Return all of one clip."""
    blocks = [
        draw_speed(report),
        draw_stages(report),
        draw_boards(report),
        draw_truth(report["truth"]),
    ]
    if with_reads:
        blocks.insert(3, draw_reads(report))
    return "\n\n".join(blocks)


def draw_clips(reports: list[Tree]) -> str:
    """Return one line a clip."""
    heads = ("clip", "frames", "shed", "still", "passed", "road ms", "kernels", "outside", "GFLOP")
    more = ("reads/min", "exact/min", "exact", "wrong", "RSS")
    line = f"{heads[0]:<14}" + "".join(f"{head:>9}" for head in heads[1:])
    lines = [line + "".join(f"{head:>10}" for head in more)]
    for one in reports:
        truth = one["truth"] or {}
        exact = truth.get("strict_accuracy")
        cells = (
            f"{one['frames']:d}",
            f"{one['frames_shed']:d}",
            f"{one['frames_motionless']:d}",
            f"{one['frames_passed']:d}",
            f"{one['road_cpu_ms_per_frame']:.2f}",
            f"{one['kernels_per_frame']:.3f}",
            f"{100 * one['share_outside_networks']:.0f} %",
            f"{one['gflop_per_frame']:.3f}",
        )
        others = (
            f"{one['plate_reads_per_minute']:.0f}",
            f"{truth['right_per_minute']:.0f}" if truth else "-",
            "-" if exact is None else f"{100 * exact:.1f} %",
            f"{truth['wrong']}" if truth else "-",
            f"{one['peak_rss_mib']:.0f} MiB",
        )
        name = one["clip"].removesuffix(".mp4")
        line = f"{name:<14}" + "".join(f"{cell:>9}" for cell in cells)
        lines.append(line + "".join(f"{cell:>10}" for cell in others))
    return "\n".join(lines)


def draw_speed(report: Tree) -> str:
    """Return the heading and the rates."""
    latency = report["latency_ms"]
    pace = "at the pace of the recording" if report["realtime"] else "as fast as it goes"
    rows = {
        "frames": f"{report['frames']} = {report['frames_looked']} looked at + "
        f"{report['frames_motionless']} motionless + {report['frames_passed']} passed over + "
        f"{report['frames_shed']} shed + "
        f"{report['frames_failed']} failed; {report['broken_frames']} broken ones left out",
        "frames a second": f"{report['frames_per_s']:.1f}, {pace}",
        "plates found": f"{report['plates_found']} (each in every frame)",
        "plate reads": f"{report['plate_reads_per_minute']:.0f} a minute of the clip "
        f"({report['crops_through_reader']} crops through the reader)",
        "vehicles": f"{report['vehicles']} ({report['vehicles_per_minute']:.0f} a minute of the "
        f"clip), {report['unreadable']} of them unreadable",
        "kept": f"{report['reads_kept']} reads sealed and on the disk, "
        f"{report['reads_dropped']} dropped",
        "a frame takes": draw_times(latency["frame"], realtime=report["realtime"]),
        "a read is kept": draw_kept(latency["kept"]),
        "memory": f"{report['peak_rss_mib']:.0f} MiB at most, {report['start_rss_mib']:.0f} before "
        "the first frame",
        "over time": draw_memory(report),
    }
    return "\n".join([report["clip"], *(f"  {name:<18}{value}" for name, value in rows.items())])


def draw_memory(report: Tree) -> str:
    """Return the memory at a few times of the clip, and whether it grows."""
    moments = report["moments"]
    picked = moments[:: max(1, ceil(len(moments) / MEMORY_TIMES))]
    shown = ", ".join(f"{one['rss_mib']:.0f}" for one in picked)
    grown = report["rss_growth_mib"]
    end = f"{moments[-1]['at_s']:.0f} s" if moments else "0 s"
    said = "too short to say" if grown is None else f"{grown:+.1f} MiB"
    return f"{shown} MiB in {end}; from the second quarter to the last: {said}"


def draw_times(times: Tree | None, *, realtime: bool) -> str:
    """Return how long a frame takes."""
    if times is None:
        return "no frame"
    since = "from the sensor to done with" if realtime else "from handed over to done with"
    return f"p50 {times['p50']:.1f} ms, p95 {times['p95']:.1f} ms, {since}"


def draw_kept(times: Tree | None) -> str:
    """Return how long it takes until a read is safe."""
    if times is None:
        return "measured with --realtime only"
    return (
        f"p50 {times['p50'] / 1e3:.2f} s, p95 {times['p95'] / 1e3:.2f} s after the vehicle's last "
        "sight (1.5 s to be sure it is gone, up to 1 s gathered)"
    )


def draw_stages(report: Tree) -> str:
    """Return CPU time by stage."""
    stages = report["cpu_ms_per_frame"]
    share = 100 * report["share_outside_networks"]
    road_ms = report["road_cpu_ms_per_frame"]
    kernel = report["kernel"]
    speed = f"{kernel['gflop_per_s']:.0f} GFLOP/s; the road takes "
    speed += f"{report['kernels_per_frame']:.3f} of it a frame"
    lines = [f"  {STAGES[stage]:<32}{spent:8.3f}" for stage, spent in stages.items()]
    lines += [
        f"  {'the road, motion to log':<32}{road_ms:8.3f}  {share:.0f} % outside the networks",
        f"  {'the whole process':<32}{report['process_cpu_ms_per_frame']:8.3f}",
        f"  {'the yardstick, once':<32}{kernel['cpu_ms']:8.3f}  {speed}",
    ]
    return "\n".join(["CPU milliseconds a frame", *lines])


def draw_boards(report: Tree) -> str:
    """Return the projections, or what this Raspberry Pi does."""
    if board := report["board"]:
        celsius = "unknown" if board["celsius"] is None else f"{board['celsius']:.1f} °C"
        now = "; ".join(board["throttled_now"]) or "nothing"
        before = "; ".join(board["throttled_before"]) or "nothing"
        return (
            f"Measured on this {board['name']} ({report['gflop_per_frame']:.3f} GFLOP a frame)\n"
            f"  {100 * board['share_at_30_fps']:.0f} % of its {board['cores']} cores at 30 fps, "
            f"decoding of the clip included\n"
            f"  {celsius}; throttled now: {now}; since its start: {before}"
        )
    heading = f"Projected, not measured ({report['gflop_per_frame']:.3f} GFLOP a frame)"
    lines = [
        f"  projected {board['board']}: {board['core_ms']:.1f} core-ms a frame, "
        f"{100 * board['share_at_30_fps']:.0f} % of 4 cores at 30 fps, "
        f"{board['max_fps']:.0f} fps at most, {board['reads_per_minute']:.0f} plate reads a minute"
        for board in report["projected"]
    ]
    return "\n".join([heading, *lines])


def draw_reads(report: Tree) -> str:
    """Return one line a vehicle."""
    lines = [
        f"  {read['text'] or '-':<17}{'unreadable' if read['abstained'] else 'read':<12}"
        f"weakest {read['min_char_confidence']:.2f}  "
        f"frames {read['first_frame']}-{read['last_frame']}, "
        f"{read['frames_agreed']} agreed  {read['direction']}"
        for read in report["reads"]
    ]
    return "\n".join(["Vehicles", *(lines or ["  none"])])


def draw_truth(truth: Tree | None) -> str:
    """Return how exact the reads are."""
    if truth is None:
        return "No truth given: nothing is said about accuracy."
    if not truth["vehicles"]:
        return (
            f"No vehicle in the truth: {truth['wrong']} wrong reads, {truth['abstained']} abstained"
        )
    return (
        f"Strict accuracy {100 * truth['strict_accuracy']:.1f} % of {truth['vehicles']} vehicles "
        f"({100 * truth['strict_accuracy_of_guesses']:.1f} % with guesses that abstained), "
        f"{truth['right_per_minute']:.0f} a minute read exactly\n"
        f"  wrong {truth['wrong']}, abstained {truth['abstained']}, "
        f"read twice {truth['repeated']}, missed {', '.join(truth['missed']) or 'none'}"
    )


def draw_changes(rows: list[Tree]) -> str:
    """Return the figures beside those of the baseline."""
    lines = [f"{'against the baseline':<62}{'before':>12}{'now':>12}{'change':>10}"]
    for row in rows:
        change = "-" if row["change"] is None else f"{100 * row['change']:+.1f} %"
        name = f"{row['clip']}: {row['name']}"
        lines.append(f"{name:<62}{row['before']:>12.4g}{row['now']:>12.4g}{change:>10}")
    return "\n".join(lines)


def draw_limits(rows: list[Tree]) -> str:
    """Return the limits; the broken ones with their reasons."""
    broken = [row for row in rows if not row["held"]]
    lines = [f"Limits: {len(rows) - len(broken)} of {len(rows)} hold"]
    for row in broken:
        found = "not measured" if row["found"] is None else f"{row['found']:.4g}"
        most = row["at_most"] is not None
        line = f"at most {row['at_most']:.4g}" if most else f"at least {row['at_least']:.4g}"
        lines.append(f"  BROKEN {row['clip']}: {row['figure']} is {found}, {line}: {row['reason']}")
    return "\n".join(lines)
