"""Cameras that are commands, folders or GenICam devices; pretended programs stand in for the real ones."""

from __future__ import annotations

import os
import shutil
import threading
import time

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import FileError, MissingExtraError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import write_picture
from ispkit.rig import genicam
from ispkit.rig.command_camera import PRESETS, CommandCamera, preset
from ispkit.rig.contracts import DeviceError
from ispkit.rig.folders import FolderDisplay, WatchFolderCamera
from ispkit.rig.simulated import SimulatedCamera
from ispkit.rig.specs import RigSpec, opened, opened_camera, parse_settings, parse_size


@pytest.fixture
def shots(tmp_path):
    """A RAW file and the same as a finished picture."""
    frame = make_frame(Domain.RAW, size=(32, 48), batch=1)
    write_dng(tmp_path / "good.dng", frame)
    write_picture(tmp_path / "good.jpg", np.full((32, 48, 3), 0.5))
    return tmp_path, frame.data.round()


def program(folder, name, body):
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def pretended(shots, monkeypatch):
    """rpicam-still, gphoto2, ssh and adb that deliver the files of `shots`."""
    room, data = shots
    program(
        room,
        "rpicam-still",
        f'while [ $# -gt 0 ]; do [ "$1" = --output ] && out="$2"; [ "$1" = --shutter ] && echo "$2" > {room}/shutter; '
        f"shift; done\ncp {room}/good.jpg $out; cp {room}/good.dng ${{out%.jpg}}.dng",
    )
    program(room, "gphoto2", f'for last; do :; done\ncp {room}/good.dng "${{last%.%C}}.dng"')
    program(room, "ssh", f'[ "$1" = me@board ] && PATH={room}/bin:$PATH exec sh -c "$2"')
    program(
        room,
        "adb",
        f'if [ "$1 $2" = "shell input" ]; then touch {room}/taken; elif [ "$1" = pull ]; then cp {room}/good.jpg "$3"; '
        f"elif [ -e {room}/taken ]; then echo IMG_2.jpg; else echo IMG_1.jpg; fi",
    )
    monkeypatch.setenv("PATH", f"{room / 'bin'}:{os.environ['PATH']}")
    return room, data


@pytest.mark.parametrize(
    ("name", "settings"),
    [("rpicam", {"shutter_us": 5000}), ("gphoto2", {}), ("rpicam-ssh", {"host": "me@board"}), ("adb", {"settle_s": 0})],
)
def test_presets_bring_their_file(pretended, name, settings):
    room, data = pretended
    frame = preset(name, settings).capture()
    if name == "adb":  # a phone's picture
        assert frame.domain is Domain.DISPLAY_RGB
        assert abs(float(frame.data.mean()) - 0.5) < 0.01
        return
    assert frame.domain is Domain.RAW
    assert torch.equal(frame.data, data)
    if name == "rpicam":
        assert (room / "shutter").read_text() == "5000\n"
    assert set(PRESETS) == {"rpicam", "gphoto2", "rpicam-ssh", "adb"}


def test_failing_commands_are_one_sentence_each(tmp_path, shots):
    room, _ = shots
    with pytest.raises(DeviceError, match="needs the program 'no-such-camera', which is not installed"):
        CommandCamera("no-such-camera {out}", needs="no-such-camera").capture()
    with pytest.raises(DeviceError, match=r"ended with code 3: .* \(lens is stuck\)"):
        CommandCamera("echo lens is stuck; : {out}; exit 3").capture()
    with pytest.raises(DeviceError, match="wrote no file"):
        CommandCamera("true {out}").capture()
    with pytest.raises(DeviceError, match="wrote an empty file"):
        CommandCamera("touch {out}").capture()
    with pytest.raises(FileError):
        CommandCamera("echo this is no picture > {out}").capture()
    with pytest.raises(ParamError, match="no setting 'shuter'; did you mean 'shutter'"):
        CommandCamera("snap {out} {shuter}", settings={"shutter": 1})
    with pytest.raises(ParamError, match=r"does not say \{out\}"):
        CommandCamera("snap")
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"took more than 0.3 s and was ended"):
        CommandCamera(f"(sleep 30; touch {tmp_path}/late) & wait; : {{out}}", timeout_s=0.3).capture()
    assert time.monotonic() - start < 5
    assert (
        CommandCamera(f"cp {room}/good.dng {{stem}}.DNG; cp {room}/good.jpg {{out}}", suffix=".jpg").capture().domain
        is Domain.RAW
    )


def test_presets_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("command: snap --gain {gain} {out}\nsettings: {gain: 2}\nsuffix: .tif\n")
    assert preset(str(path), {"gain": "4"}).settings == {"gain": "4"}
    with pytest.raises(ParamError, match=r"mine.yaml has no setting 'gian'; did you mean 'gain'"):
        preset(str(path), {"gian": 1})
    with pytest.raises(ParamError, match="no camera preset 'rpicm'; did you mean 'rpicam'"):
        preset("rpicm")
    path.write_text("comand: snap {out}\n")
    with pytest.raises(FileError, match="is a mapping with 'command'"):
        preset(str(path))
    path.write_text("command: snap {out}\ntimeout: 3\n")
    with pytest.raises(FileError, match="unknown key 'timeout'; did you mean 'timeout_s'"):
        preset(str(path))
    path.write_text("a: [")
    with pytest.raises(FileError, match="is no YAML"):
        preset(str(path))
    with pytest.raises(FileError, match="cannot be read"):
        preset(str(tmp_path / "absent.yaml"))


def test_watch_folder_takes_complete_new_files_only(shots):
    room, data = shots
    folder = room / "tether"
    folder.mkdir()
    shutil.copy(room / "good.jpg", folder / "old.jpg")
    camera = WatchFolderCamera(folder, pattern="*.dng", settle_s=0.15, timeout_s=10)
    whole = (room / "good.dng").read_bytes()

    def write_slowly():
        (folder / ".hidden.dng").write_bytes(whole)
        (folder / "wrong.jpg").write_bytes(whole)
        with (folder / "shot.dng").open("wb") as file:
            for part in (whole[:500], whole[500:1500], whole[1500:]):
                file.write(part)
                file.flush()
                time.sleep(0.3)  # longer than the settling time: the file must also be readable

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert torch.equal(camera.capture().data, data)
    writer.join()
    camera.timeout_s = 0.4
    with pytest.raises(DeviceError, match=r"no complete new file \*.dng came within 0.4 s"):
        camera.capture()  # the same file is not taken twice
    (folder / "torn.dng").write_bytes(whole[:500])
    with pytest.raises(DeviceError, match=r"came within 0.4 s \(.*torn.dng"):
        camera.capture()
    with pytest.raises(DeviceError, match="is no folder to watch"):
        WatchFolderCamera(room / "absent")


def test_folder_display_numbers_its_files_and_waits(tmp_path, monkeypatch):
    confirmed = []
    display = FolderDisplay(tmp_path / "prints", (20, 30), confirm=lambda path: confirmed.append(path.name))
    display.show(torch.ones(3, 20, 30))
    display.show(torch.zeros(3, 10, 10))
    assert confirmed == ["frame-0001.png", "frame-0002.png"]
    assert sorted(p.name for p in (tmp_path / "prints").iterdir()) == confirmed
    with pytest.raises(ShapeError, match="make it smaller"):
        display.show(torch.ones(3, 21, 30))

    def nobody(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(DeviceError, match="nobody can confirm"):
        FolderDisplay(tmp_path / "prints", (20, 30)).show(torch.ones(3, 20, 30))


@pytest.mark.slow
def test_genicam_takes_pictures_with_aravis_pretended_camera():
    try:
        genicam.library()
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert "Fake_1" in genicam.devices(fake=True)
    with genicam.GenicamCamera("Fake_1", pixel_format="BayerGR8", exposure_time_s=0.01, gain_db=0.0) as camera:
        frame = camera.capture()
        assert frame.domain is Domain.RAW
        assert frame.meta.cfa == "GRBG"
        assert frame.size == (512, 512)
        assert float(frame.data.max()) > 100
        assert float(frame.data.max()) <= float(frame.meta.white_level.max()) == 255
        assert float(frame.meta.exposure_time_s[0]) == pytest.approx(0.01)
        assert not torch.equal(camera.capture().data, frame.data)  # its picture moves: each capture is new
    with pytest.raises(DeviceError, match="is closed"):
        camera.capture()
    with genicam.GenicamCamera("Fake_1", pixel_format="Mono16") as camera:
        assert camera.capture().domain is Domain.CAMERA_RGB
    with genicam.GenicamCamera("Fake_1", pixel_format="RGB8") as camera:
        assert camera.capture().data.shape == (1, 3, 512, 512)
    with genicam.GenicamCamera("Fake_1") as camera:
        assert camera.pixel_format.startswith("Bayer")
    with pytest.raises(ParamError, match="no pixel format 'BayerRG9'; did you mean"):
        genicam.GenicamCamera("Fake_1", pixel_format="BayerRG9")
    with pytest.raises(DeviceError, match=r"no GenICam camera Fake_9 \(found: Fake_1\)"):
        genicam.GenicamCamera("Fake_9")


def test_without_aravis_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(genicam, "_LIBRARIES", ("libno-such-aravis.so.0", "no-such-aravis"))
    genicam.library.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"apt install libaravis-0.8-0"):
            genicam.devices()
    finally:
        genicam.library.cache_clear()


def test_words_of_the_command_line(tmp_path):
    with opened(RigSpec("simulated", "simulated", display_size=(64, 96))) as (screen, camera):
        assert isinstance(camera, SimulatedCamera)
        assert (screen.size, camera.size) == ((64, 96), (32, 48))
    with opened_camera(f"watch:{tmp_path}", {"pattern": "*.dng", "timeout_s": "3"}) as camera:
        assert (camera.pattern, camera.timeout_s) == ("*.dng", 3.0)
    told = []
    spec = RigSpec("browser:left", f"watch:{tmp_path}", announce=told.append)
    with opened(spec):
        assert told[0].startswith("http://127.0.0.1:")
        assert told[0].endswith("/?screen=left")
    for bad, message in (
        (RigSpec("simulated", "rpicam"), "take both"),
        (RigSpec("browsr", f"watch:{tmp_path}"), "did you mean 'browser'"),
        (RigSpec("browser", "rpican"), "did you mean 'rpicam'"),
        (RigSpec("browser", f"watch:{tmp_path}", {"pattrn": "*"}), "did you mean 'pattern'"),
        (RigSpec("browser", f"watch:{tmp_path}", {"timeout_s": "soon"}), "should be a number"),
    ):
        with pytest.raises(ParamError, match=message), opened(bad):
            pass
    assert parse_size("1920x1080") == (1080, 1920)
    assert parse_settings(["gain=2", "host = a=b"]) == {"gain": "2", "host": "a=b"}
    for parse, word in ((parse_size, "1920"), (parse_size, "0x5"), (lambda w: parse_settings([w]), "gain")):
        with pytest.raises(ParamError, match="should be"):
            parse(word)
