"""One door to every kind of tuning file that a `CameraProfile` can be written as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ispkit.core.errors import ParamError, nearest
from ispkit.core.profile import CameraProfile
from ispkit.io.tuning.infinite_isp import export_infinite_isp
from ispkit.io.tuning.libcamera import export_rkisp1, export_softisp
from ispkit.io.tuning.rpi_export import export_rpi


@dataclass(frozen=True)
class Export:
    """One kind of file."""

    suffix: str
    """of the file's name, with its dot"""
    doc: str
    """one line for a list"""
    write: Callable[[CameraProfile, str | None, float | None], str]
    """profile, template's text, temperature of the light -> text"""


EXPORTS: Mapping[str, Export] = {
    "rpi-vc4": Export(".json", "Raspberry Pi 4 and before", lambda p, t, _: export_rpi(p, "bcm2835", t)),
    "rpi-pisp": Export(".json", "Raspberry Pi 5", lambda p, t, _: export_rpi(p, "pisp", t)),
    "libcamera-rkisp1": Export(
        ".yaml", "libcamera on Rockchip and i.MX8 (rkisp1)", lambda p, t, _: export_rkisp1(p, t)
    ),
    "libcamera-softisp": Export(".yaml", "libcamera's software ISP", lambda p, t, _: export_softisp(p, t)),
    "infinite-isp": Export(".yml", "Infinite-ISP's configs.yml, one light", export_infinite_isp),
}


def export(profile: CameraProfile, kind: str, *, template: str | None = None, cct_k: float | None = None) -> str:
    """The text of a tuning file of `kind`, a name of `EXPORTS`.

    `template` is the text of an existing file: only what the profile knows is replaced in it, all other
    blocks, their order and their comments stay. `cct_k` picks the light where a kind holds one only.
    Raises `ParamError` for an unknown kind, `FileError` where profile or template do not fit.
    """
    if kind not in EXPORTS:
        raise ParamError(f"no tuning file of kind {kind!r}; {nearest(kind, EXPORTS)}")
    return EXPORTS[kind].write(profile, template, cct_k)
