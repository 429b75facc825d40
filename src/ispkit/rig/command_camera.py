"""A camera that is a command: it runs, it leaves a picture in a fresh folder, the best file there is the capture."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from ispkit.core.errors import BlackBoxError, FileError, IspkitError, ParamError, nearest
from ispkit.core.frame import Frame
from ispkit.io.geometry import Facts
from ispkit.io.load import load
from ispkit.io.read_pictures import read_picture
from ispkit.isp.external.process import run_program
from ispkit.rig.contracts import DeviceError, picture_frame

PRESETS = ("adb", "gphoto2", "rpicam", "rpicam-ssh")
_FINISHED = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_PLACE = re.compile(r"\{(\w+)\}")
_KEYS = ("doc", "command", "suffix", "settings", "timeout_s", "needs")
_SHELL = ("cmd", "/c") if sys.platform == "win32" else ("sh", "-c")


@dataclass(frozen=True)
class CommandCamera:
    """Runs a shell command for every capture; keeps the contract of `Camera`.

    In the command `{out}` is the file to write, `{stem}` the same without its ending, `{folder_out}` the
    folder, all of them quoted; every other `{name}` is looked up in `settings`. Whatever file the command leaves in
    the folder is read, RAW before JPEG.
    """

    command: str
    suffix: str = ".dng"
    """the ending of `{out}`"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 60.0
    needs: str = ""
    """a program that must be there"""
    geometry: Facts | None = None
    """what a headerless dump or a bare mosaic does not say of itself"""

    def __post_init__(self) -> None:
        own = ("out", "stem", "folder_out")
        names = _PLACE.findall(self.command)
        for name in names:
            if name not in own and name not in self.settings:
                raise ParamError(f"camera command: no setting {name!r}; {nearest(name, [*self.settings, *own])}")
        if not any(name in own for name in names):
            raise ParamError(f"camera command {self.command!r} does not say {{out}}, the file that it should write")

    def check(self) -> None:
        """Raise `DeviceError` if the program is not there."""
        if self.needs and shutil.which(self.needs) is None:
            raise DeviceError(f"the camera needs the program {self.needs!r}, which is not installed or not in PATH")

    def capture(self) -> Frame:
        """Run the command and read its picture. Raises `DeviceError`, `FileError`."""
        self.check()
        with TemporaryDirectory(prefix="ispkit-camera-") as room:
            out = Path(room) / f"capture{self.suffix}"
            self._run(self._filled(out))
            return read_shot(best_of([p for p in Path(room).iterdir() if p.is_file()], self.command), self.geometry)

    def _filled(self, out: Path) -> str:
        own = {"out": out, "stem": out.with_suffix(""), "folder_out": out.parent}
        known = {k: shlex.quote(str(v)) for k, v in own.items()} | {k: str(v) for k, v in self.settings.items()}
        return _PLACE.sub(lambda match: known[match[1]], self.command)

    def _run(self, command: str) -> None:
        try:
            run_program((*_SHELL, command), environment={}, timeout_s=self.timeout_s)
        except BlackBoxError as error:
            raise DeviceError(f"the camera command failed: {error}") from error


def preset(name: str, settings: Mapping[str, Any] | None = None) -> CommandCamera:
    """A camera command that ships with the toolkit, or one in a YAML file of the same form.

    `settings` override the preset's own. Raises `ParamError` for unknown names, `FileError` for a wrong file.
    """
    if name in PRESETS:
        text, where = files("ispkit.rig").joinpath("presets", f"{name}.yaml").read_text("utf-8"), f"preset {name}"
    elif Path(name).suffix in (".yaml", ".yml"):
        text, where = _read(Path(name)), name
    else:
        raise ParamError(f"no camera preset {name!r}; {nearest(name, PRESETS)}, or a YAML file of your own")
    facts = _parsed(text, where)
    own = _settings(facts, where)
    for key in settings or {}:
        if key not in own:
            raise ParamError(f"{where} has no setting {key!r}; {nearest(key, own)}")
    return CommandCamera(
        " ".join(str(facts["command"]).split()),
        suffix=str(facts.get("suffix", ".dng")),
        settings=own | dict(settings or {}),
        timeout_s=_timeout_s(facts, where),
        needs=str(facts.get("needs", "")),
    )


def read_shot(path: Path, geometry: Facts | None = None) -> Frame:
    """A capture's file: RAW as `io.load` reads it, else a finished picture. Raises `FileError`."""
    try:
        return load(path, geometry=geometry)
    except IspkitError as no_raw:
        try:
            return picture_frame(read_picture(path).pixels)
        except IspkitError:
            raise no_raw from None


def best_of(found: list[Path], who: str) -> Path:
    """The RAW file among those a camera left, else the picture. Raises `DeviceError` if there is none."""
    if not found:
        raise DeviceError(f"the camera wrote no file: {who}")
    finished = sorted((p.suffix.lower() in _FINISHED, p.name) for p in found)
    by_name = {p.name: p for p in found}
    best = by_name[finished[0][1]]
    if best.stat().st_size == 0:
        raise DeviceError(f"the camera wrote an empty file: {who}")
    return best


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a camera preset ({error})") from error


def _parsed(text: str, where: str) -> Mapping[str, Any]:
    try:
        facts = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FileError(f"{where}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(facts, Mapping) or "command" not in facts:
        raise FileError(f"{where}: a camera preset is a mapping with 'command'; the guide on the rig shows one")
    for key in facts:
        if key not in _KEYS:
            raise FileError(f"{where}: unknown key {key!r}; {nearest(str(key), _KEYS)}")
    return facts


def _settings(facts: Mapping[str, Any], where: str) -> dict[str, Any]:
    settings = facts.get("settings") or {}
    if not isinstance(settings, Mapping):
        raise FileError(f"{where}: settings={settings!r} should be a mapping, such as {{gain: 1}}")
    return {str(name): value for name, value in settings.items()}


def _timeout_s(facts: Mapping[str, Any], where: str) -> float:
    given = facts.get("timeout_s", 60)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise FileError(f"{where}: timeout_s={given!r} should be a number of seconds above 0, such as 60")
    return float(given)
