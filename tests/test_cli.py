"""The command line end to end, on RAW files that a simulated camera writes (and real ones where present)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ispkit
from ispkit.charts.scene import studio_scene
from ispkit.data.demo import write_demo_raws
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import read_picture
from ispkit.sensor.simulate import Sensor, capture


@pytest.fixture(scope="session")
def raws(tmp_path_factory) -> Path:
    """A folder with three small DNG files."""
    folder = tmp_path_factory.mktemp("raws")
    write_demo_raws(folder, height=256, width=384)
    return folder


def pixels(path: Path) -> np.ndarray:
    return (read_picture(path).pixels * 255).round().astype(int)


def test_one_file_to_each_format(cli, raws, tmp_path):
    raw = raws / "studio_daylight_iso100.dng"
    for name, bits in (("a.png", 8), ("b.jpg", 8), ("c.tif", 16), ("d.png", 16)):
        code, out, err = cli("render", raw, "-o", tmp_path / name, "--bits", bits)
        assert (code, err) == (0, "")
        assert "384x256" in out
    assert np.abs(pixels(tmp_path / "a.png") - pixels(tmp_path / "c.tif")).max() <= 1
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["icc_profile"]
        assert picture.getexif()[0x0110] == "ispkit Simulated Camera"
        assert picture.getexif().get(0x0112, 1) == 1


def test_a_folder_resumes_and_says_so(cli, raws, tmp_path):
    out = tmp_path / "out"
    code, text, _ = cli("render", raws, "-o", out, "--json")
    first = json.loads(text)
    assert code == 0
    assert [r["skipped"] for r in first] == [False] * 3
    (out / "studio_dim_iso6400.png").unlink()
    again = json.loads(cli("render", raws, "-o", out, "--json")[1])
    assert [r["skipped"] for r in again] == [True, False, True]
    changed = json.loads(cli("render", raws, "-o", out, "--set", "exposure.ev=1", "--json")[1])
    assert [r["skipped"] for r in changed] == [False] * 3
    assert "ev: 1.0" in (out / "ispkit_recipe.yaml").read_text()
    repeated = cli("render", raws, "-o", out, "--recipe", out / "ispkit_recipe.yaml", "--json")[1]
    assert [r["skipped"] for r in json.loads(repeated)] == [True] * 3


def test_resume_looks_at_what_stands_there_now(cli, tmp_path):
    """The same name from another folder, and a changed sidecar, are rendered again."""
    frame = capture(studio_scene(256, 384), Sensor())
    for i, folder in enumerate((tmp_path / "a", tmp_path / "b")):
        folder.mkdir()
        write_dng(folder / "same.dng", frame.with_data(frame.data * (1 - 0.3 * i)))
    out = tmp_path / "out"
    for folder, skipped in (("a", False), ("a", True), ("b", False), ("a", False)):
        report = json.loads(cli("render", tmp_path / folder / "same.dng", "-o", out, "--json")[1])
        assert [r["skipped"] for r in report] == [skipped]
    dump, sidecar = tmp_path / "f.raw", tmp_path / "f.raw.yaml"
    dump.write_bytes(frame.data[0, 0].numpy().astype("<u2").tobytes())
    for cfa, skipped in (("RGGB", False), ("RGGB", True), ("BGGR", False)):
        sidecar.write_text(f"ispkit_sidecar: 1\nwidth: 384\nheight: 256\nbits: 14\ncfa: {cfa}\n")
        report = json.loads(cli("render", dump, "-o", out, "--json")[1])
        assert [r["skipped"] for r in report] == [skipped]


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_an_interruption_stops_the_workers_and_says_so(raws, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for i in range(120):
        (many / f"{i}.dng").symlink_to(sorted(raws.glob("*.dng"))[0])
    command = [sys.executable, "-m", "ispkit.cli.main", "render", str(many), "-o", str(tmp_path / "out"), "-w", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while len(list((tmp_path / "out").glob("*.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; finished pictures are kept" in err
    assert len(list((tmp_path / "out").glob("*.png"))) < 120


@pytest.mark.slow
def test_a_killed_run_loses_no_finished_picture(raws, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ispkit.cli.main", "render", str(raws), "-o", str(out), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    whole = sorted(out.glob("*.png"))
    assert whole, "the first picture never came"
    for path in whole:
        assert pixels(path).shape == (256, 384, 3)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == 3
    assert len(list(out.glob("*.png"))) == 3


@pytest.mark.slow
def test_workers_give_the_same_pictures(cli, raws, tmp_path):
    assert cli("render", raws, "-o", tmp_path / "one")[0] == 0
    assert cli("render", raws, "-o", tmp_path / "two", "--workers", 2)[0] == 0
    for path in (tmp_path / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("knobs", [(), ("--set", "white_balance.mode=gray_world")])
def test_a_crop_is_a_window_of_the_upright_picture(cli, tmp_path, orientation, knobs):
    frame = capture(studio_scene(256, 384), Sensor())
    write_dng(tmp_path / "a.dng", frame.with_data(frame.data, orientation=(orientation,)))
    assert cli("render", tmp_path / "a.dng", "-o", tmp_path / "whole.png", *knobs)[0] == 0
    assert cli("render", tmp_path / "a.dng", "-o", tmp_path / "part.png", "--crop", "31,70,101,64", *knobs)[0] == 0
    whole, part = pixels(tmp_path / "whole.png"), pixels(tmp_path / "part.png")
    assert part.shape == (64, 101, 3)
    assert np.abs(whole[70:134, 31:132] - part).max() <= 1


def test_size_and_stages(cli, raws, tmp_path):
    raw = raws / "studio_daylight_iso100.dng"
    code, out, _ = cli("render", raw, "-o", tmp_path / "a.png", "--size", 96, "--stages", tmp_path / "steps")
    assert code == 0
    assert "96x64" in out
    steps = sorted(p.name for p in (tmp_path / "steps").iterdir())
    assert steps[0] == "00_linearize.png"
    assert steps[-1].endswith("_encode.png")


def test_the_python_way_is_the_same_picture(cli, raws, tmp_path):
    raw = raws / "studio_tungsten_iso400.dng"
    assert cli("render", raw, "-o", tmp_path / "a.png", "-p", "camera-like", "-s", "exposure.ev=0.5")[0] == 0
    by_name = ispkit.develop(raw, preset="camera-like", exposure__ev=0.5)
    by_mapping = ispkit.develop(raw.read_bytes(), preset="camera-like", values={"exposure.ev": 0.5})
    assert np.array_equal(by_name, pixels(tmp_path / "a.png"))
    assert np.array_equal(by_mapping, by_name)


def test_a_headerless_dump_needs_its_geometry(cli, tmp_path):
    dump = tmp_path / "scene.raw"
    frame = capture(studio_scene(256, 384), Sensor())
    dump.write_bytes(frame.data[0, 0].numpy().astype("<u2").tobytes())
    code, _, err = cli("render", dump, "-o", tmp_path / "a.png")
    assert code == 2
    assert "give its geometry" in err
    geometry = "width=384,height=256,bits=14,cfa=RGGB,black_level=512"
    assert cli("render", dump, "-o", tmp_path / "a.png", "-g", geometry)[0] == 0
    assert pixels(tmp_path / "a.png").shape == (256, 384, 3)


def test_info_says_what_the_file_says(cli, raws, tmp_path):
    raw = raws / "studio_dim_iso6400.dng"
    facts = json.loads(cli("info", raw, "--json")[1])
    assert (facts["width"], facts["height"], facts["cfa"], facts["iso"]) == (384, 256, "BGGR", 6400.0)
    assert facts["noise_profile"][0][0] == pytest.approx(1.2e-4 * 64, rel=1e-4)
    code, out, _ = cli("info", raw, "--preview", tmp_path / "p.png")
    assert code == 0
    assert "BGGR" in out
    assert pixels(tmp_path / "p.png").shape == (128, 192, 3)


def test_stages_come_from_the_declarations(cli):
    described = json.loads(cli("stages", "--json")[1])
    assert sum(len(s["knobs"]) for s in described.values()) >= 45
    code, out, _ = cli("stages", "sharpen")
    assert code == 0
    assert "sharpen.amount" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("render", "{raws}/none.dng", "-o", "{out}/a.png"), "No such file"),
        (("render", "{raws}", "-o", "{out}/a.png"), "names one picture, but 3 RAW files were given"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.gif"), ".gif is not written"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-p", "neutrl"), "did you mean 'neutral'"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-s", "exposure.ev=99"), "is outside"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-s", "exposur.ev=1"), "did you mean"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-s", "exposure.ev"), "STAGE.KNOB=VALUE"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "--crop", "1,2,3"), "X,Y,W,H"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "--crop", "0,0,999,9"), "leaves the 384x256"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.jpg", "--bits", "16"), "does not fit .jpg"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/no/such/a.png"), "folder does not exist"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}", "--format", "gif"), "is not png, jpg or tif"),
        (("render", "{out}", "-o", "{out}/b"), "a folder without RAW files"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-g", "widht=3"), "did you mean 'width'"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "--executor", "gpu"), "executor='gpu'"),
        (("info", "{raws}"), "a folder"),
        (("info", "{here}"), "is text"),
        (
            ("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-s", "sharpen.amount=1"),
            "no stage 'sharpen'",
        ),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-g", "bits=8,bits=10"), "given twice"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{out}/a.png", "-w", "0"), "--workers"),
        (("render", "{raws}/studio_dim_iso6400.dng", "-o", "{raws}/studio_dim_iso6400.dng"), "is not written"),
        (("compare", "{here}", "{here}", "-o", "{here}"), "is an input of this command"),
        (("info", "{raws}/studio_dim_iso6400.dng", "--preview", "{raws}/studio_dim_iso6400.dng"), "is an input"),
        (("rendr",), "rendr"),
        (("stages", "sharpn"), "did you mean 'sharpen'"),
        (("demo", "{here}", "-o", "{out}"), "no picture was made"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(cli, raws, tmp_path, args, message):
    filled = [a.format(raws=raws, out=tmp_path, here=__file__) for a in args]
    code, _, err = cli(*filled)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(cli, raws, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, _, err = cli("render", raws / "studio_dim_iso6400.dng", "-o", locked / "a.png")
    assert code == 2
    assert "permission denied" in err


def test_a_full_disk_leaves_nothing_behind(raws, tmp_path):
    """A file-size limit stands in for the full disk: the write fails in its middle."""
    resource = pytest.importorskip("resource")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "ispkit.cli.main", "render", str(raws / "studio_daylight_iso100.dng")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "a.png")], capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help_is_instant():
    """Heavy imports wait for the command that needs them."""
    code = "import sys; import ispkit.cli.main; print([m for m in ('torch', 'numpy', 'rawpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_real_files_develop(cli, shared, tmp_path):
    for name in ("raw_gopro_hero7/gopro_hero7_crop1536x1024.dng", "raw_dng/Blackmagic.dng"):
        code, _, err = cli("render", shared / name, "-o", tmp_path / f"{Path(name).stem}.png")
        assert (code, err) == (0, "")


def check_damaged(tmp_path: Path, count: int, sources: list[Path]) -> None:
    """Every mutated file gives a picture or one sentence; nothing half-written, no hang, bounded memory."""
    script = Path(__file__).with_name("develop_damaged.py")
    command = [sys.executable, str(script), str(tmp_path), "7", str(count), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert len(report["results"]) == count * len(sources)
    for result in report["results"]:
        assert result["left"] == ([] if result["error"] else ["picture.png"]), result
        assert "\n" not in result["error"]
    assert any(r["error"] for r in report["results"])
    assert any(not r["error"] for r in report["results"])
    assert report["peak_kib"] < 4 << 20


@pytest.mark.slow
def test_damaged_files_through_the_command_line(raws, tmp_path):
    check_damaged(tmp_path, 15, sorted(raws.glob("*.dng"))[:2])


@pytest.mark.slow
def test_500_damaged_camera_files_through_the_command_line(shared, tmp_path):
    names = ("raw_gopro_hero7/gopro_hero7_crop1536x1024.dng", "raw_dng/Blackmagic.dng")
    check_damaged(tmp_path, 250, [shared / name for name in names])


def test_a_file_that_is_marked_read_only_is_kept(cli, raws, tmp_path):
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"precious")
    kept.chmod(0o444)
    code, _, err = cli("render", raws / "studio_daylight_iso100.dng", "-o", kept, "--force")
    assert code == 2
    assert "marked read-only" in err
    assert kept.read_bytes() == b"precious"
