"""Cameras that are commands, folders or GenICam devices; pretended programs stand in for the real ones."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from types import SimpleNamespace

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
    with pytest.raises(DeviceError, match="ended with code 3; it said: lens is stuck"):
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


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_capture_ends_its_command(tmp_path):
    def press_ctrl_c():
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=press_ctrl_c)
    user.start()
    with pytest.raises(KeyboardInterrupt):
        CommandCamera(f"touch {tmp_path}/begun; (sleep 1.2; touch {tmp_path}/late) & wait; : {{out}}").capture()
    user.join()
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()


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
    for line, message in (
        ("timeout_s: soon", "timeout_s='soon' should be a number of seconds above 0"),
        ("timeout_s: .nan", "timeout_s=nan should be a number"),
        ("timeout_s: -1", "timeout_s=-1 should be a number"),
        ("settings: abc", "settings='abc' should be a mapping"),
    ):
        path.write_text(f"command: snap {{out}}\n{line}\n")
        with pytest.raises(FileError, match=rf"mine.yaml: {message}"):
            preset(str(path))
    path.write_text("a: [")
    with pytest.raises(FileError, match="is no YAML"):
        preset(str(path))
    with pytest.raises(FileError, match="cannot be read"):
        preset(str(tmp_path / "absent.yaml"))


class Watching(WatchFolderCamera):
    """Says when a capture has begun: what the folder holds by then does not count."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.begun = threading.Event()

    def _candidates(self):
        found = list(super()._candidates())
        self.begun.set()
        return iter(found)

    def then(self, action):
        """Do something in a thread as soon as the next capture has begun."""
        self.begun.clear()
        thread = threading.Thread(target=lambda: self.begun.wait(10) and action())
        thread.start()
        return thread


def test_watch_folder_takes_complete_new_files_only(shots):
    room, data = shots
    folder = room / "tether"
    folder.mkdir()
    shutil.copy(room / "good.jpg", folder / "old.jpg")
    camera = Watching(folder, pattern="*.dng", settle_s=0.15, timeout_s=10)
    whole = (room / "good.dng").read_bytes()

    def write_slowly():
        (folder / ".hidden.dng").write_bytes(whole)
        (folder / "wrong.jpg").write_bytes(whole)
        with (folder / "shot.dng").open("wb") as file:
            for part in (whole[:500], whole[500:1500], whole[1500:]):
                file.write(part)
                file.flush()
                time.sleep(0.3)  # longer than the settling time: the file must also be readable

    writer = camera.then(write_slowly)
    assert torch.equal(camera.capture().data, data)
    writer.join()
    camera.timeout_s = 0.4
    with pytest.raises(DeviceError, match=r"no complete new file \*.dng came within 0.4 s"):
        camera.capture()  # the same file is not taken twice
    camera.timeout_s = 2.0
    writer = camera.then(lambda: (folder / "torn.dng").write_bytes(whole[:500]))
    with pytest.raises(DeviceError, match=r"came within 2 s \(.*torn.dng.*\); trigger the camera after"):
        camera.capture()
    writer.join()
    with pytest.raises(DeviceError, match="is no folder to watch"):
        WatchFolderCamera(room / "absent")


def test_late_second_files_of_a_shot_do_not_shift_the_next_ones(shots):
    room, _ = shots
    folder = room / "tether"
    folder.mkdir()
    camera = Watching(folder, settle_s=0.1, timeout_s=10)
    other = make_frame(Domain.RAW, size=(32, 48), batch=1, seed=7)
    write_dng(room / "other.dng", other)

    def arrive(*files):
        for source, name in files:
            shutil.copy(room / source, folder / ".copy")
            (folder / ".copy").rename(folder / name)
            time.sleep(0.4)  # longer than it takes to settle

    writers = [camera.then(lambda: arrive(("good.jpg", "IMG_1.jpg")))]
    assert camera.capture().domain is Domain.DISPLAY_RGB
    (folder / "IMG_1.jpg").unlink()  # the tethering program files it away
    shutil.copy(room / "good.dng", folder / "IMG_0.dng")  # came before the second frame was shown: it is of an old one
    files = ("good.dng", "IMG_1.dng"), ("good.dng", "IMG_0.jpg"), ("other.dng", "IMG_2.dng")
    writers.append(camera.then(lambda: arrive(*files)))
    assert torch.equal(camera.capture().data, other.data.round())
    for writer in writers:
        writer.join()


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


def test_a_genicam_camera_that_cannot_be_set_up_is_closed_again(monkeypatch):
    released = []
    answers = {
        "arv_camera_new": 77,
        "arv_camera_get_model_name": b"M",
        "arv_camera_get_pixel_format_as_string": b"Mono8",
    }

    def call(name, *arguments):
        if name == "arv_camera_set_gain":
            raise DeviceError("the GenICam camera refused set_gain")
        return answers.get(name)

    pretended = SimpleNamespace(call=call, gobject=SimpleNamespace(g_object_unref=released.append))
    monkeypatch.setattr(genicam, "library", lambda: pretended)
    monkeypatch.setattr(genicam, "devices", lambda *, fake=False: ["one"])
    monkeypatch.setattr(genicam.GenicamCamera, "pixel_formats", lambda self: ["Mono8"])
    with pytest.raises(ParamError, match="no pixel format 'Mono9'"):
        genicam.GenicamCamera(pixel_format="Mono9")
    assert released == [77]
    with pytest.raises(DeviceError, match="refused set_gain"):
        genicam.GenicamCamera(gain_db=99.0)
    assert released == [77, 77]
    with genicam.GenicamCamera() as camera:
        assert (camera.model, len(released)) == ("M", 2)


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
    assert parse_size("1080x1920") == (1080, 1920)
    assert parse_settings(["gain=2", "host = a=b"]) == {"gain": "2", "host": "a=b"}
    for parse, word in ((parse_size, "1920"), (parse_size, "0x5"), (lambda w: parse_settings([w]), "gain")):
        with pytest.raises(ParamError, match="should be"):
            parse(word)
