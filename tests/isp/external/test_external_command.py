"""Any program as an ISP: values in, pictures out, and one clear error for each way to fail."""

from __future__ import annotations

import os
import pickle
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from ispkit.core.errors import BlackBoxError, DomainError, ParamError, RecipeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.external.command import CommandISP
from ispkit.isp.external.files import InputRule, write_input
from ispkit.isp.external.spec import parse_spec

BOX = Path(__file__).with_name("box.py")
KNOBS = {
    "nr.gain": {"key": "nr/gain", "default": 1.0, "low": 0.25, "high": 2.0, "scale": "log"},
    "level.offset": {"key": "offset", "default": 0, "bits": 6},
}


def spec(mode="plain", note="", **more):
    content = {
        "version": 1,
        "command": f"{sys.executable} -S -E {BOX} {mode} {{raw}} {{out}} {{params}} {{width}} {{height}}",
        "input": {"format": "raw16"},
        "params": {"format": "json", "template": {"kept": [1, 2], "note": str(note)}},
        "knobs": KNOBS,
        "timeout_s": 20,
    }
    return parse_spec(content | more, "box")


def raw(height=12, width=16, batch=1, seed=0) -> Frame:
    g = torch.Generator().manual_seed(seed)
    data = torch.randint(0, 100, (batch, 1, height, width), generator=g).float()
    meta = CameraMeta.make("GRBG", (height, width), white_level=255.0)
    return Frame(data, Domain.RAW, meta.select([0] * batch))


def gray(frame: Frame) -> torch.Tensor:
    return (frame.data * 255).round()[:, :1]


def test_the_values_reach_the_program_and_its_picture_comes_back():
    frame = raw()
    out = CommandISP(spec())(frame, {"nr.gain": 2.0, "level.offset": 3})
    assert out.domain is Domain.DISPLAY_RGB
    assert torch.equal(gray(out), frame.data * 2 + 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_batch_of_settings_and_a_batch_of_frames_keep_their_order(workers):
    isp = CommandISP(spec(), workers=workers)
    offsets = torch.tensor([0.0, 7.0, 30.0])
    one, three = raw(), raw(batch=3)
    assert torch.equal(gray(isp(one, {"level.offset": offsets})), one.data + offsets[:, None, None, None])
    assert torch.equal(gray(isp(three, {"level.offset": offsets})), three.data + offsets[:, None, None, None])
    assert torch.equal(gray(isp(three, {"level.offset": 1.0})), three.data + 1)


def test_values_are_checked_at_the_door():
    isp = CommandISP(spec())
    with pytest.raises(ParamError, match="outside"):
        isp(raw(), {"level.offset": 64.0})
    with pytest.raises(ParamError, match=r"did you mean 'nr\.gain'"):
        isp(raw(), {"nr.gian": 1.0})
    with pytest.raises(ParamError, match="2 settings do not fit"):
        isp(raw(batch=3), {"level.offset": torch.tensor([1.0, 2.0])})
    with pytest.raises(DomainError):
        isp(Frame(torch.zeros(1, 3, 8, 8), Domain.DISPLAY_RGB, raw(8, 8).meta))


@pytest.mark.parametrize("crop", [1, 4, 5])
def test_what_the_program_crops_is_mirrored_around_the_frame_before(crop):
    frame = raw()
    isp = CommandISP(spec(f"crop{crop}", input={"format": "raw16", "crop_px": crop}))
    assert torch.equal(gray(isp(frame)), frame.data)


@pytest.mark.parametrize("crop", [3, 4])
def test_the_mirrored_mosaic_keeps_its_phase(tmp_path, crop):
    sites = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat(5, 6)[None, None]
    frame = Frame(sites, Domain.RAW, CameraMeta.make("RGGB", (10, 12), white_level=255.0))
    write_input(tmp_path / "in", frame, InputRule("raw16", crop))
    written = np.frombuffer((tmp_path / "in").read_bytes(), "<u2").reshape(18, 20)
    assert (written == np.tile([[1, 2], [3, 4]], (9, 10))).all()


def test_a_program_that_turns_its_picture_is_turned_back():
    frame = raw()
    assert torch.equal(gray(CommandISP(spec("turn", output={"orientation": 3}))(frame)), frame.data)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("exit", "ended with code 1; it said: the sensor is on fire"),
        ("silent", "wrote no picture"),
        ("empty", "wrote no picture"),
        ("garbage", "no whole picture"),
        ("half", "no whole picture"),
        ("small", "its picture is 11x16 where the frame is 12x16"),
    ],
)
def test_each_failure_is_one_error_with_command_and_reason(mode, reason):
    with pytest.raises(BlackBoxError, match=reason) as caught:
        CommandISP(spec(mode))(raw())
    assert str(BOX) in str(caught.value)


@pytest.mark.parametrize("damage", ["nan", "half"])
def test_a_tiff_with_nan_or_cut_short_is_a_failure(tmp_path, damage):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.full((12, 16, 3), 0.5, np.float32)
    if damage == "nan":
        pixels[3, 4, 1] = np.nan
    file = BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb")
    content = file.getvalue()
    (tmp_path / "x.tif").write_bytes(content if damage == "nan" else content[: len(content) // 2])
    with pytest.raises(BlackBoxError, match=r"no finite numbers|no whole picture"):
        CommandISP(spec("copy", tmp_path / "x.tif", output={"suffix": ".tif"}))(raw())


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(BlackBoxError, match=r"took more than 0\.7 s"):
        CommandISP(spec("hang", note, timeout_s=0.7))(raw())
    child = int(note.read_text())
    for _ in range(100):  # its new parent may need a moment to bury it
        if not _runs(child):
            break
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_program_that_is_not_there_says_so():
    isp = CommandISP(spec(command="no-such-isp {raw} {out}"))
    for call in (isp.check, lambda: isp(raw())):
        with pytest.raises(BlackBoxError, match=r"no-such-isp.*installed"):
            call()


def test_a_flaky_program_is_tried_again_as_often_as_the_spec_says(tmp_path):
    with pytest.raises(BlackBoxError, match="not yet"):
        CommandISP(spec("second-time", tmp_path / "a"))(raw())
    assert CommandISP(spec("second-time", tmp_path / "b", retries=1))(raw()).size == (12, 16)


def test_a_finished_render_is_kept_until_anything_differs(tmp_path):
    note, cache = tmp_path / "calls", tmp_path / "cache"

    def calls(values, frame=None, **more):
        before = len(note.read_text()) if note.exists() else 0
        picture = CommandISP(spec("count", note, **more), cache=cache)(raw() if frame is None else frame, values)
        return len(note.read_text()) - before, picture.data

    first = calls({"level.offset": 5})
    again = calls({"level.offset": 5})
    assert (first[0], again[0]) == (1, 0)
    assert torch.equal(first[1], again[1])
    assert calls({"level.offset": 6})[0] == 1
    assert calls({"level.offset": 5}, raw(seed=1))[0] == 1
    assert calls({"level.offset": 5}, environment={"MODE": "other"})[0] == 1
    for kept in cache.rglob("*.png"):
        kept.write_bytes(kept.read_bytes()[:40])
    repaired = calls({"level.offset": 5})
    assert repaired[0] == 1
    assert torch.equal(repaired[1], first[1])


def test_the_version_of_the_program_is_part_of_the_key(tmp_path):
    script = tmp_path / "version.py"
    note = tmp_path / "calls"
    for version in ("1.0", "1.1"):
        script.write_text(f"print({version!r})")
        CommandISP(spec("count", note, program_version=f"{sys.executable} {script}"), cache=tmp_path / "c")(raw())
    assert len(note.read_text()) == 2


def test_a_copy_in_another_process_renders_too():
    isp = CommandISP(spec())
    frame = raw()
    isp(frame)
    assert torch.equal(pickle.loads(pickle.dumps(isp))(frame).data, isp(frame).data)


def test_flags_and_single_knobs_stand_in_the_command_line():
    knobs = {
        "a.gain": {"key": "--gain=", "default": 1.5, "low": 0, "high": 2},
        "a.fast": {"key": "--fast", "default": True, "options": [False, True]},
        "a.mode": {"key": "-m", "default": "soft", "options": {"soft": 3, "hard": 4}},
    }
    isp = CommandISP(spec(command="x {raw} {out} {flags} -g {a.gain}", params={"format": "flags"}, knobs=knobs))
    assert isp.command_line({"a.mode": "hard"})[3:] == ["--gain=1.5", "--fast", "-m", "4", "-g", "1.5"]
    assert isp.command_line({"a.fast": "off"})[3:] == ["--gain=1.5", "-m", "3", "-g", "1.5"]


@pytest.mark.parametrize(
    ("command", "message"),
    [("x {raw}", "does not say {out}"), ("x {raw} {out} {parms}", "did you mean 'params'")],
)
def test_a_command_with_holes_is_refused(command, message):
    with pytest.raises(RecipeError, match=message):
        CommandISP(spec(command=command))
