"""`homeplate bench video` on a small rendered clip, with the real models and the whole road."""

import json
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from agent.cli import build_parser, main
from agent.cli.bench_limits import check_limits, load_limits
from agent.cli.bench_report import STAGES
from agent.cli.bench_video import run
from tests.plates import make_corners, show_plates

FRAMES = 16
LEFT, RIGHT = "7KXR482", "3CEH915"
LIMITS = Path(__file__).parents[2] / "deploy" / "bench-limits.toml"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Return a video of two vehicles that drive towards the camera side by side, and its truth."""
    folder = tmp_path_factory.mktemp("clip")
    path, truth = folder / "clip.mp4", folder / "clip.truth.jsonl"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.options = {"crf": "16"}
        for step in range(FRAMES):
            plates = {
                LEFT: make_corners(90 - 2 * step, 60 + 20 * step, 110 + step, 55),
                RIGHT: make_corners(400 + 2 * step, 40 + 20 * step, 112 + step, 56),
            }
            picture = show_plates(plates, width=640, height=480)
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    rows = [{"text": text, "first_frame": 0, "last_frame": FRAMES - 1} for text in (LEFT, RIGHT)]
    truth.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, truth


def bench(clip, out, *options):
    """Return the exit code and the figures."""
    path, truth = clip
    given = ["bench", "video", str(path), "--truth", str(truth), "--json", str(out), *options]
    return main(given), json.loads(out.read_text()) if out.exists() else None


def account(report):
    """Return the frames that are accounted for."""
    kinds = ("looked", "motionless", "passed", "shed", "failed")
    return sum(report[f"frames_{kind}"] for kind in kinds)


def test_a_video_with_truth_gives_all_figures(clip, tmp_path):
    code, tree = bench(clip, tmp_path / "report.json")
    (report,) = tree["clips"]
    assert code == 0
    assert report["frames"] == FRAMES == account(report)
    assert (report["frames_shed"], report["broken_frames"], report["laps"]) == (0, 0, 1)
    assert (report["truth"]["strict_accuracy"], report["truth"]["wrong"]) == (1.0, 0)
    assert {read["text"] for read in report["reads"]} == {LEFT, RIGHT}
    assert (report["vehicles"], report["reads_kept"], report["reads_dropped"]) == (2, 2, 0)
    assert report["truth"]["right_per_minute"] == pytest.approx(2 / (FRAMES / 30 / 60))
    assert report["gflop_per_frame"] > 0.2
    assert report["plate_reads"] <= report["crops_through_reader"]
    assert report["plates_found"] >= 2 * report["frames_looked"] - 4
    assert report["latency_ms"]["frame"]["p50"] <= report["latency_ms"]["frame"]["p95"]
    assert sum(report["latency_ms"]["frame"]["histogram"]) == FRAMES
    assert report["latency_ms"]["kept"] is None
    assert 50 < report["start_rss_mib"] <= report["peak_rss_mib"]
    assert [board["board"] for board in report["projected"]] == ["Pi 5", "Pi 4"]
    assert report["board"] is None


def test_every_stage_of_the_road_is_metered_down_to_the_disk(clip, tmp_path):
    (report,) = bench(clip, tmp_path / "report.json")[1]["clips"]
    stages = report["cpu_ms_per_frame"]
    assert list(stages) == list(STAGES)
    assert all(spent > 0 for spent in stages.values())
    road = report["network_cpu_ms_per_frame"] + report["other_cpu_ms_per_frame"]
    assert road == pytest.approx(sum(stages.values()) - stages["decode"] - stages["lores"])
    assert report["road_cpu_ms_per_frame"] == pytest.approx(road)
    assert 0 < report["share_outside_networks"] < 1
    assert report["process_cpu_ms_per_frame"] > road
    kernel = report["kernel"]["cpu_ms"]
    assert report["kernels_per_frame"] == pytest.approx(road / kernel)


def test_in_real_time_frames_keep_their_pace_and_reads_are_timed_to_the_disk(clip, tmp_path):
    (report,) = bench(clip, tmp_path / "report.json", "--realtime")[1]["clips"]
    assert report["realtime"] is True
    assert report["frames"] == FRAMES == account(report)
    assert report["wall_s"] > (FRAMES - 1) / 30
    assert report["clip_s"] == pytest.approx(FRAMES / 30, rel=0.01)
    assert report["reads_kept"] == report["vehicles"]
    kept = report["latency_ms"]["kept"]  # none where a busy machine shed all frames
    assert sum(kept["histogram"] if kept else ()) == report["vehicles"]


def test_a_looped_clip_counts_every_lap_against_the_truth(clip, tmp_path):
    (report,) = bench(clip, tmp_path / "report.json", "--loop", "0.1")[1]["clips"]
    assert report["laps"] == 12  # of 16 frames at 30 a second, until 6 seconds are over
    assert report["frames"] == 12 * FRAMES == account(report)
    assert report["frames_unaccounted"] == 0
    assert report["rss_growth_mib"] is None  # too short a run
    assert report["truth"]["vehicles"] == 24
    assert report["truth"]["wrong"] == 0
    assert report["truth"]["right"] + report["truth"]["abstained"] <= 24
    times = [moment["at_s"] for moment in report["moments"]]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(6.0, abs=1.1)


def test_the_table_says_what_is_projected(clip, capsys, tmp_path):
    bench(clip, tmp_path / "report.json", "--vehicles")
    shown = capsys.readouterr().out
    assert "Strict accuracy 100.0 % of 2 vehicles" in shown
    assert shown.count("projected Pi") == 2
    assert "Projected, not measured" in shown
    assert f"{FRAMES} = " in shown
    assert LEFT in shown


def test_on_a_real_pi_the_true_figures_stand_instead_of_projections(clip, tmp_path, capsys):
    root = tmp_path / "root"
    files = {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "sys/class/thermal/thermal_zone0/temp": "61200\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    out, page = tmp_path / "report.json", tmp_path / "report.html"
    given = ["bench", "video", str(clip[0]), "--json", str(out), "--html", str(page)]
    assert run(build_parser(["bench"]).parse_args(given), root=root) == 0
    (report,) = json.loads(out.read_text())["clips"]
    assert report["projected"] == []
    assert report["board"]["name"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert report["board"]["celsius"] == 61.2
    assert report["board"]["share_at_30_fps"] > 0
    assert "the supply voltage is too low" in report["board"]["throttled_now"]
    for text in (capsys.readouterr().out, page.read_text()):
        assert "rojected" not in text
        assert "Measured on this Raspberry Pi 5 Model B Rev 1.0" in text
        assert "61.2 °C" in text
        assert "the supply voltage is too low" in text


def test_another_machine_with_a_device_tree_is_no_pi(clip, tmp_path):
    place = tmp_path / "proc/device-tree/model"
    place.parent.mkdir(parents=True)
    place.write_text("Some Other Board\0")
    out = tmp_path / "report.json"
    given = ["bench", "video", str(clip[0]), "--max-frames", "3", "--json", str(out)]
    assert run(build_parser(["bench"]).parse_args(given), root=tmp_path) == 0
    assert len(json.loads(out.read_text())["clips"][0]["projected"]) == 2


def test_a_setting_of_the_unit_can_be_switched_for_comparison(clip, tmp_path):
    usual = bench(clip, tmp_path / "1.json")[1]["clips"][0]
    settings = ("reread_certain=true", "skip_motionless=false", "quiet_interval_s=0")
    sections = ("track", "detect", "detect")
    keep = [
        part for pair in zip(sections, settings, strict=True) for part in ("--set", ".".join(pair))
    ]
    every = bench(clip, tmp_path / "2.json", *keep)[1]["clips"][0]
    assert every["plate_reads"] > usual["plate_reads"]
    assert every["frames_looked"] == FRAMES


@pytest.mark.parametrize(
    "pair", ["detect.max_plates=0", "detect.sharpness=1", "max_plates=8", "detect.max_plates", "=1"]
)
def test_what_is_no_setting_is_refused(clip, pair, capsys):
    assert main(["bench", "video", str(clip[0]), "--set", pair]) == 78
    assert f"--set {pair}" in capsys.readouterr().err


def test_several_clips_make_one_table_and_take_their_truths_from_a_folder(clip, tmp_path, capsys):
    path, truth = clip
    for name in ("one", "two"):
        (tmp_path / f"{name}.mp4").write_bytes(path.read_bytes())
        (tmp_path / f"{name}.truth.jsonl").write_bytes(truth.read_bytes())
    clips = [str(tmp_path / f"{name}.mp4") for name in ("one", "two")]
    assert main(["bench", "video", *clips, "--truth", str(tmp_path)]) == 0
    table = capsys.readouterr().out.partition("clip  ")[2].splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["one", "two"]
    assert main(["bench", "video", *clips, "--truth", str(truth)]) == 78
    assert "expected a folder" in capsys.readouterr().err


def test_without_truth_nothing_is_said_about_accuracy(clip, capsys):
    assert main(["bench", "video", str(clip[0]), "--max-frames", "5"]) == 0
    shown = capsys.readouterr().out
    assert "frames            5 = " in shown
    assert "No truth given" in shown


def test_an_empty_truth_has_no_accuracy_but_counts_what_was_made_up(clip, tmp_path):
    truth = tmp_path / "none.jsonl"
    truth.write_text("")
    (report,) = bench((clip[0], truth), tmp_path / "report.json")[1]["clips"]
    assert report["truth"]["strict_accuracy"] is None
    assert report["truth"]["wrong"] == 2


def test_a_folder_of_pictures_can_be_benched_as_a_video(tmp_path, capsys):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((480, 640), 120, np.uint8))
    assert main(["bench", "video", str(tmp_path)]) == 0
    assert "frames            3 = " in capsys.readouterr().out


def test_a_clip_that_is_no_video_ends_in_one_line(tmp_path, capsys):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video")
    assert main(["bench", "video", str(path)]) == 66
    message = capsys.readouterr().err
    assert message.startswith(f"homeplate: {path}: cannot be opened")
    assert message.count("\n") == 1


def test_figures_are_compared_with_those_of_an_earlier_run(clip, tmp_path, capsys):
    kept = tmp_path / "baseline.json"
    bench(clip, tmp_path / "1.json", "--save-baseline", str(kept))
    saved = json.loads(kept.read_text())
    saved["clip.mp4"]["gflop_per_frame"] /= 2
    kept.write_text(json.dumps(saved))
    capsys.readouterr()
    _, tree = bench(clip, tmp_path / "2.json", "--baseline", str(kept))
    changes = {row["figure"]: row["change"] for row in tree["compared"]}
    assert changes["gflop_per_frame"] == pytest.approx(1.0)
    assert changes["truth.strict_accuracy"] == 0.0
    assert "+100.0 %" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"clip.mp4": {"gflop_per_frame": "much"}}'])
def test_a_spoilt_baseline_is_refused(clip, tmp_path, content, capsys):
    kept = tmp_path / "baseline.json"
    kept.write_text(content)
    assert main(["bench", "video", str(clip[0]), "--baseline", str(kept)]) == 78
    assert "expected a file that --save-baseline wrote" in capsys.readouterr().err


def limit(figure, bound, *, clip="clip"):
    """Return a limit as TOML."""
    return f'[[limit]]\nclip = "{clip}"\nfigure = "{figure}"\n{bound}\nreason = "a reason"\n'


@pytest.mark.parametrize(
    ("figure", "bound", "held"),
    [
        ("truth.strict_accuracy", "at_least = 1.0", True),
        ("truth.strict_accuracy", "at_least = 1.01", False),
        ("gflop_per_frame", "at_most = 100", True),
        ("gflop_per_frame", "at_most = 0.001", False),
        ("share_outside_networks", "at_most = 0.0001", False),
        ("kernels_per_frame", "at_most = 0.0001", False),
        ("truth.no_such_figure", "at_most = 1", False),
    ],
)
def test_a_figure_beyond_its_limit_fails_the_bench(clip, tmp_path, figure, bound, held, capsys):
    place = tmp_path / "limits.toml"
    place.write_text(limit(figure, bound))
    code, tree = bench(clip, tmp_path / "report.json", "--limits", str(place))
    assert code == (0 if held else 1)
    assert [one["figure"] for one in tree["limits"]] == ["frames_unaccounted", figure]
    assert [one["held"] for one in tree["limits"]] == [True, held]
    shown = capsys.readouterr().out
    assert f"Limits: {1 + held} of 2 hold" in shown
    assert ("a reason" in shown) is not held


@pytest.mark.parametrize(
    "content",
    [
        "",
        "limit = 3",
        limit("gflop_per_frame", ""),
        limit("gflop_per_frame", "at_most = 1\nat_least = 2"),
        limit("gflop_per_frame", "at_most = 1").replace("a reason", " "),
        limit("gflop_per_frame", "at_most = 1", clip="another"),
    ],
    ids=["empty", "no table", "no bound", "two bounds", "no reason", "another clip"],
)
def test_limits_that_limit_nothing_are_refused(clip, tmp_path, content):
    place = tmp_path / "limits.toml"
    place.write_text(content)
    given = ["bench", "video", str(clip[0]), "--max-frames", "2", "--limits", str(place)]
    assert main(given) == 78


def test_every_shipped_limit_fails_when_its_figure_is_worsened():
    limits = load_limits(LIMITS)
    for one in limits:
        bound = one.at_most if one.at_most is not None else one.at_least
        step = 1e-6 if one.at_most is not None else -1e-6
        for value, held in ((bound, True), (bound + step, False), (None, False)):
            report = {"clip": f"{one.clip}.mp4", "truth": {}}
            place = report
            *way, last = one.figure.split(".")
            for name in way:
                place = place.setdefault(name, {})
            place[last] = value
            (found,) = check_limits([report], (one,))
            assert found["held"] is held, (one.clip, one.figure, value)


def test_the_shipped_limits_cover_each_clip_and_each_kind_of_regression():
    limits = tomllib.loads(LIMITS.read_text())["limit"]
    clips = {path.stem for path in (LIMITS.parents[1] / "tests" / "data").glob("*.mp4")}
    kinds = {"gflop_per_frame", "kernels_per_frame"}
    for clip in clips:
        figures = {one["figure"] for one in limits if one["clip"] == clip}
        assert kinds <= figures
        assert "truth.wrong" in figures
        if clip != "idle":
            assert {"truth.strict_accuracy", "share_outside_networks"} <= figures
    assert {one["clip"] for one in limits} == clips
    assert all(len(one["reason"]) > 20 for one in limits)


class Page(HTMLParser):
    """Gathers what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.labels, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        assert not {"src", "href", "onclick"} & set(given), given
        if tag == "svg":
            assert given["role"] == "img"
            self.labels.append(given["aria-label"])
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_with_named_charts_for_light_and_dark(clip, tmp_path):
    out = tmp_path / "report.html"
    limits = tmp_path / "limits.toml"
    limits.write_text(limit("gflop_per_frame", "at_most = 0.001"))
    bench(clip, tmp_path / "report.json", "--html", str(out), "--limits", str(limits))
    text = out.read_text()
    page = Page(text)
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text
    names = " ".join(page.labels)
    for chart in ("of each stage", "to done with", "plate reads, vehicles", "memory over the clip"):
        assert chart in names
    assert "projected Pi 5" in text
    assert 'class="broken"' in text
    assert LEFT not in text
