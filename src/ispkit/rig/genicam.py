"""GenICam cameras (GigE Vision, USB3 Vision) through the Aravis library, if it is installed.

Debian and Ubuntu have it as `libaravis-0.8-0`; it is called through ctypes, so no Python package is needed.
`arv_camera_acquisition` starts, takes one picture and stops, so a capture never shows an older screen.
"""

from __future__ import annotations

import ctypes as c
import ctypes.util
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.core.cfa import check_cfa
from ispkit.core.errors import MissingExtraError, ParamError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.rig.contracts import DeviceError, picture_frame

_LIBRARIES = ("libaravis-0.8.so.0", "libaravis-0.10.so.0", "aravis-0.8", "aravis-0.10")
_FORMAT = re.compile(r"(Bayer(?P<order>RG|GR|GB|BG)|Mono|RGB)(?P<bits>8|10|12|14|16)$")
_CFA = {"RG": "RGGB", "GR": "GRBG", "GB": "GBRG", "BG": "BGGR"}
_SUCCESS = 0  # ARV_BUFFER_STATUS_SUCCESS


class _GError(c.Structure):
    _fields_ = (("domain", c.c_uint32), ("code", c.c_int), ("message", c.c_char_p))


_ERROR = c.POINTER(c.POINTER(_GError))
# name -> (result, arguments); those that end in _ERROR report through it
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_enable_interface": (None, (c.c_char_p,)),
    "arv_update_device_list": (None, ()),
    "arv_get_n_devices": (c.c_uint, ()),
    "arv_get_device_id": (c.c_char_p, (c.c_uint,)),
    "arv_camera_new": (c.c_void_p, (c.c_char_p, _ERROR)),
    "arv_camera_get_model_name": (c.c_char_p, (c.c_void_p, _ERROR)),
    "arv_camera_get_pixel_format_as_string": (c.c_char_p, (c.c_void_p, _ERROR)),
    "arv_camera_dup_available_pixel_formats_as_strings": (
        c.POINTER(c.c_char_p),
        (c.c_void_p, c.POINTER(c.c_uint), _ERROR),
    ),
    "arv_camera_set_pixel_format_from_string": (None, (c.c_void_p, c.c_char_p, _ERROR)),
    "arv_camera_set_exposure_time": (None, (c.c_void_p, c.c_double, _ERROR)),
    "arv_camera_set_gain": (None, (c.c_void_p, c.c_double, _ERROR)),
    "arv_camera_acquisition": (c.c_void_p, (c.c_void_p, c.c_uint64, _ERROR)),
    "arv_buffer_get_status": (c.c_int, (c.c_void_p,)),
    "arv_buffer_get_data": (c.c_void_p, (c.c_void_p, c.POINTER(c.c_size_t))),
    "arv_buffer_get_image_width": (c.c_int, (c.c_void_p,)),
    "arv_buffer_get_image_height": (c.c_int, (c.c_void_p,)),
}


@dataclass(frozen=True)
class Library:
    """Aravis and the part of GLib that it needs."""

    aravis: Any
    gobject: Any

    def call(self, name: str, *arguments: Any) -> Any:
        """A function that reports through a GError. Raises `DeviceError` with its message."""
        error = c.POINTER(_GError)()
        result = getattr(self.aravis, name)(*arguments, c.byref(error))
        if error:
            message = (error.contents.message or b"").decode(errors="replace")
            self.gobject.g_error_free(error)
            raise DeviceError(f"the GenICam camera refused {name.removeprefix('arv_camera_')}: {message}")
        return result


@cache
def library() -> Library:
    """Aravis. Raises `MissingExtraError` where it is not installed."""
    for name in _LIBRARIES:
        found = name if ".so" in name else ctypes.util.find_library(name)
        try:
            aravis = c.CDLL(found) if found else None
        except OSError:
            continue
        if aravis is not None:
            return _prepared(aravis)
    raise MissingExtraError(
        "GenICam cameras need the Aravis library; install it from the system's packages (Debian, Ubuntu: "
        "apt install libaravis-0.8-0)"
    )


def _prepared(aravis: Any) -> Library:
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(aravis, name)
        function.restype, function.argtypes = result, arguments
    gobject = c.CDLL(ctypes.util.find_library("gobject-2.0") or "libgobject-2.0.so.0")
    gobject.g_object_unref.argtypes, gobject.g_object_unref.restype = (c.c_void_p,), None
    gobject.g_error_free.argtypes, gobject.g_error_free.restype = (c.c_void_p,), None
    gobject.g_free.argtypes, gobject.g_free.restype = (c.c_void_p,), None
    return Library(aravis, gobject)


def devices(*, fake: bool = False) -> list[str]:
    """Names of the cameras that can be reached; `fake` adds Aravis's own pretended one.

    Raises `MissingExtraError`.
    """
    aravis = library().aravis
    if fake:
        aravis.arv_enable_interface(b"Fake")
    aravis.arv_update_device_list()
    return [(aravis.arv_get_device_id(i) or b"").decode() for i in range(aravis.arv_get_n_devices())]


class GenicamCamera:
    """One GenICam camera; keeps the contract of `Camera`. Use it in a `with` block, or `close` it."""

    def __init__(
        self,
        name: str | None = None,
        *,
        pixel_format: str | None = None,
        exposure_time_s: float | None = None,
        gain_db: float | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """Open it and set what is given.

        Args:
            name: as `devices()` tells, "Fake_1" for the pretended one; None takes the first.
            pixel_format: e.g. "BayerRG12"; None takes the deepest Bayer format that is not packed.
            exposure_time_s: fixed, as a calibration needs it.
            gain_db: as the camera counts it.
            timeout_s: how long a capture may take.

        Raises `DeviceError`, `ParamError`, `MissingExtraError`.
        """
        self._library, self.timeout_s = library(), timeout_s
        self._camera: Any = None
        known = devices(fake=(name or "").startswith("Fake"))
        if not known or (name is not None and name not in known):
            found = ", ".join(known) or "none"
            raise DeviceError(f"no GenICam camera {name or 'at all'} (found: {found}); check cable, network and power")
        chosen = name or known[0]
        self._camera = self._library.call("arv_camera_new", chosen.encode())
        self.name, self.exposure_time_s, self.gain_db = chosen, exposure_time_s, gain_db
        try:
            self.model = (self._library.call("arv_camera_get_model_name", self._camera) or b"").decode()
            self.pixel_format = self._choose(pixel_format)
            if exposure_time_s is not None:
                self._library.call("arv_camera_set_exposure_time", self._camera, exposure_time_s * 1e6)
            if gain_db is not None:
                self._library.call("arv_camera_set_gain", self._camera, gain_db)
        except BaseException:  # nobody has it yet who could close it
            self.close()
            raise

    def __enter__(self) -> GenicamCamera:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Let the camera go."""
        if self._camera is not None:
            self._library.gobject.g_object_unref(self._camera)
            self._camera = None

    def pixel_formats(self) -> list[str]:
        """What the camera offers."""
        count = c.c_uint()
        names = self._library.call("arv_camera_dup_available_pixel_formats_as_strings", self._camera, c.byref(count))
        found = [(names[i] or b"").decode() for i in range(count.value)]
        self._library.gobject.g_free(c.cast(names, c.c_void_p))
        return found

    def capture(self) -> Frame:
        """One new picture: RAW of a Bayer camera; a gray or color camera gives CAMERA_RGB or DISPLAY_RGB."""
        if self._camera is None:
            raise DeviceError(f"the camera {self.name} is closed; open it again")
        buffer = self._library.call("arv_camera_acquisition", self._camera, int(self.timeout_s * 1e6))
        if not buffer:
            raise DeviceError(f"the camera {self.name} gave no picture within {self.timeout_s:g} s")
        try:
            samples = self._samples(buffer)
        finally:
            self._library.gobject.g_object_unref(buffer)
        return self._frame(samples)

    def _choose(self, wanted: str | None) -> str:
        offered = self.pixel_formats()
        if wanted is not None and wanted not in offered:
            raise ParamError(f"the camera {self.name} has no pixel format {wanted!r}; {nearest(wanted, offered)}")
        readable = {name: match for name in offered if (match := _FORMAT.match(name))}
        if wanted is not None and wanted not in readable:
            raise ParamError(f"pixel format {wanted!r} is not read here; take one of {', '.join(readable)}")
        if not readable:
            raise DeviceError(f"the camera {self.name} offers packed formats only: {', '.join(offered)}")
        now = (self._library.call("arv_camera_get_pixel_format_as_string", self._camera) or b"").decode()
        best = max(readable, key=lambda n: (readable[n]["order"] is not None, int(readable[n]["bits"]), n == now))
        chosen = wanted or best
        self._library.call("arv_camera_set_pixel_format_from_string", self._camera, chosen.encode())
        return chosen

    def _samples(self, buffer: Any) -> NDArray[Any]:
        """A copy of the picture, (H, W) or (H, W, 3)."""
        aravis = self._library.aravis
        status = aravis.arv_buffer_get_status(buffer)
        if status != _SUCCESS:
            raise DeviceError(f"the camera {self.name} sent an incomplete picture (status {status}); check the network")
        size = c.c_size_t()
        data = aravis.arv_buffer_get_data(buffer, c.byref(size))
        height, width = aravis.arv_buffer_get_image_height(buffer), aravis.arv_buffer_get_image_width(buffer)
        kind = np.dtype("u1" if _bits(self.pixel_format) == 8 else "<u2")
        shape = (height, width, 3) if self.pixel_format.startswith("RGB") else (height, width)
        expected = int(np.prod(shape)) * kind.itemsize
        if not data or size.value < expected:
            raise DeviceError(f"the camera {self.name} sent {size.value} bytes, {expected} were due")
        return np.frombuffer(c.string_at(data, expected), kind).reshape(shape)

    def _frame(self, samples: NDArray[Any]) -> Frame:
        white = 2.0 ** _bits(self.pixel_format) - 1
        if samples.ndim == 3:
            return picture_frame(samples / white)
        data = torch.from_numpy(samples.astype(np.float32))[None, None]
        order = (_FORMAT.match(self.pixel_format) or {"order": None})["order"]
        exif = {"Model": self.model}
        exposure = self.exposure_time_s or 0.0
        if order is None:
            meta = CameraMeta.make("RGGB", data.shape, exif=exif, exposure_time_s=exposure)
            return Frame((data / white).expand(1, 3, -1, -1), Domain.CAMERA_RGB, meta)
        cfa = check_cfa(_CFA[order])
        meta = CameraMeta.make(cfa, data.shape, white_level=white, exif=exif, exposure_time_s=exposure)
        return Frame(data, Domain.RAW, meta)


def _bits(pixel_format: str) -> int:
    match = _FORMAT.match(pixel_format)
    return int(match["bits"]) if match else 8
