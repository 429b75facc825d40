"""Displays and cameras by the words of a command line: `browser`, `folder:DIR`, `rpicam`, `watch:DIR`, ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ispkit.core.errors import ParamError, nearest
from ispkit.rig import command_camera
from ispkit.rig.browser_display import ScreenServer
from ispkit.rig.contracts import Camera, Display
from ispkit.rig.folders import FolderDisplay, WatchFolderCamera
from ispkit.rig.genicam import GenicamCamera
from ispkit.rig.simulated import random_rig

DISPLAYS = ("browser", "folder:DIR", "simulated")
CAMERAS = (*command_camera.PRESETS, "FILE.yaml", "watch:DIR", "genicam", "genicam:NAME", "simulated")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})$")
_GENICAM = {"pixel_format": str, "exposure_time_s": float, "gain_db": float, "timeout_s": float}
_WATCH = {"pattern": str, "timeout_s": float, "settle_s": float}


@dataclass(frozen=True)
class RigSpec:
    """What stands in the loop, in words."""

    display: str = "browser"
    camera: str = "simulated"
    settings: Mapping[str, str] = field(default_factory=dict)
    """of the camera: `shutter_us=10000`"""
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    display_size: tuple[int, int] | None = None
    """height, width; of a folder or the simulated screen"""
    seed: int = 0
    """of the simulated rig"""
    announce: Callable[[str], None] = print
    """told the address that is to be opened"""

    @property
    def simulated(self) -> bool:
        """Whether it is all numbers."""
        return self.display == "simulated"


@contextmanager
def opened(spec: RigSpec) -> Iterator[tuple[Display, Camera]]:
    """The display and the camera, closed at the end. Raises `ParamError`, `DeviceError`, `MissingExtraError`."""
    if (spec.display == "simulated") != (spec.camera == "simulated"):
        raise ParamError("a simulated camera sees a simulated display only, and nothing else does; take both")
    with ExitStack() as stack:
        if spec.simulated:
            height, width = spec.display_size or (720, 1280)
            camera = random_rig(spec.seed, (height, width), (max(2, height // 2), max(2, width // 2)))
            yield camera.display, camera
        else:
            seeing = stack.enter_context(opened_camera(spec.camera, spec.settings))  # first: it fails faster
            yield stack.enter_context(opened_display(spec)), seeing


@contextmanager
def opened_display(spec: RigSpec) -> Iterator[Display]:
    """A real display."""
    kind, _, rest = spec.display.partition(":")
    if kind == "folder" and rest:
        yield FolderDisplay(Path(rest), spec.display_size or (1080, 1920))
    elif kind == "browser":
        name = rest or "main"
        with ScreenServer((name,), host=spec.host, port=spec.port, token=spec.token, timeout_s=60.0) as server:
            spec.announce(server.address_of(name))
            yield server[name]
    else:
        raise ParamError(f"no display {spec.display!r}; {nearest(spec.display, DISPLAYS)}")


@contextmanager
def opened_camera(name: str, settings: Mapping[str, str]) -> Iterator[Camera]:
    """A real camera."""
    kind, _, rest = name.partition(":")
    if kind == "watch" and rest:
        yield WatchFolderCamera(rest, **_typed(settings, _WATCH, "watch"))
    elif kind == "genicam":
        with GenicamCamera(rest or None, **_typed(settings, _GENICAM, "genicam")) as camera:
            yield camera
    elif kind in command_camera.PRESETS or name.endswith((".yaml", ".yml")):
        command = command_camera.preset(name, settings)
        command.check()  # before anybody waits for a screen
        yield command
    else:
        raise ParamError(f"no camera {name!r}; {nearest(name, CAMERAS)}")


def parse_size(text: str) -> tuple[int, int]:
    """Height, width of "1080x1920", in that order as `ispkit chart` has it. Raises `ParamError`."""
    match = _SIZE.match(text)
    if match is None or 0 in (int(match[1]), int(match[2])):
        raise ParamError(f"size {text!r} should be HEIGHTxWIDTH in pixels, such as 1080x1920")
    return int(match[1]), int(match[2])


def parse_settings(words: list[str]) -> dict[str, str]:
    """["gain=2", ...] -> {"gain": "2"}. Raises `ParamError`."""
    found = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not (key and sign):
            raise ParamError(f"setting {word!r} should be NAME=VALUE, such as shutter_us=10000")
        found[key.strip()] = value.strip()
    return found


def _typed(settings: Mapping[str, str], known: Mapping[str, type], who: str) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise ParamError(f"{who} has no setting {key!r}; {nearest(key, known)}")
        try:
            typed[key] = known[key](value)
        except ValueError as error:
            raise ParamError(f"{who} setting {key}={value!r} should be a number") from error
    return typed
