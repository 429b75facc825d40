"""Learned ISPs by name: which nets, between which adapters. One plain dict.

Options of every name: `preset` ("paper", "released" where the authors' code differs, "small" for comparisons at about
the same parameters) and, by name, the fields of the net's shape, which are its ablations; of those that read a mosaic
`exposure` as in `adapters.PackedAdapter`. "dir", "auto-encoder", "nafnet-rgb" and "unet-rgb" read finished pictures
(DISPLAY_RGB) and give finished pictures. Options are plain data, lists stand for tuples.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ispkit.core.errors import ParamError, nearest
from ispkit.core.frame import Domain
from ispkit.isp.learned.adapters import BilinearAdapter, Exposure, PackedAdapter, PictureAdapter, Space
from ispkit.isp.learned.anscombe_adapter import AnscombeAdapter, Colors, Curve, Noise
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.nets import (
    anscombe,
    cameranet,
    can24,
    chain,
    deepcamera,
    deepisp,
    l3,
    nafnet,
    picture_unet,
    sid_unet,
    srgan,
)
from ispkit.nets import dir as dir_net
from ispkit.nets.layers import chosen, typed
from ispkit.nets.picture_net import PictureNet


def names() -> tuple[str, ...]:
    """Every name that `build` knows."""
    return tuple(BUILDERS)


def build(name: str, **options: Any) -> LearnedISP:
    """A learned ISP with fresh weights (of torch's global generator), in training mode.

    Raises `ParamError` for an unknown name or option, a value of another kind, or one that makes no net.

    >>> list(build("cameranet", preset="small").parts)
    ['restore', 'enhance']
    """
    known = list(dict.fromkeys(option.partition(".")[0] for option in options_of(name)))
    hints = get_type_hints(BUILDERS[name])
    for option in options:
        if option not in known:
            raise ParamError(f"{name}: no option {option!r}; {nearest(option, known)}")
    try:
        return BUILDERS[name](**{k: typed(k, hints.get(k, Any), v) for k, v in _plain(options).items()})
    except ParamError as error:
        raise ParamError(f"{name}: {error}") from error


def options_of(name: str) -> dict[str, str]:
    """What `build` takes for a name: option -> its words with the default first, or the preset paper's value.

    Fields of the shape of one of several nets are told as "restore.width": they go into a mapping of that name. Raises
    `ParamError` for an unknown name.

    >>> options_of("sid-unet")["edge"], options_of("cameranet")["restore.convs"]
    ('reflect', '3')
    """
    if name not in BUILDERS:
        raise ParamError(f"no learned ISP {name!r}; {nearest(name, BUILDERS)}")
    known, hints = inspect.signature(BUILDERS[name]).parameters, get_type_hints(BUILDERS[name])
    shapes = SHAPES.get(name, {})
    found = {"preset": "|".join(next(iter(shapes.values())))} if shapes else {}
    for option in known.values():
        if option.kind is not option.VAR_KEYWORD and option.name not in ("preset", *shapes):
            words = get_args(hints[option.name]) if get_origin(hints[option.name]) is Literal else ()
            found[option.name] = "|".join(dict.fromkeys(map(_word, (option.default, *words))))
    flat = any(option.kind is option.VAR_KEYWORD for option in known.values())
    for part, presets in shapes.items():
        for field in fields(presets["paper"]) if flat or part in known else ():
            key = field.name if flat else f"{part}.{field.name}"
            found.setdefault(key, _word(getattr(presets["paper"], field.name)))
    return found


def _deepisp(*, preset: str = "paper", exposure: Exposure = "none", **shape: Any) -> LearnedISP:
    net = deepisp.DeepISP(chosen(deepisp.PRESETS, preset, **shape))
    return LearnedISP({"isp": Part(net, BilinearAdapter(exposure=exposure))})


def _deepisp_ll(*, preset: str = "paper", exposure: Exposure = "none", **shape: Any) -> LearnedISP:
    net = deepisp.DeepISP(chosen(deepisp.LOW_PRESETS, preset, **shape))
    adapter = BilinearAdapter(writes=Domain.LINEAR_RGB, encode=False, exposure=exposure)
    return LearnedISP({"isp": Part(net, adapter)})


def _cameranet(
    *,
    preset: str = "paper",
    noise_map: bool | None = None,
    exposure: Exposure = "none",
    restore: Mapping[str, Any] | None = None,
    enhance: Mapping[str, Any] | None = None,
) -> LearnedISP:
    """`noise_map`: as the paper, not as its released code; `restore`, `enhance`: fields of the nets' shapes."""
    packed = _packed(preset, noise_map, exposure, writes=Domain.LINEAR_RGB)
    return LearnedISP(
        {
            "restore": Part(cameranet.restore_net(preset, inputs=packed.channels, **_plain(restore)), packed),
            "enhance": Part(cameranet.enhance_net(preset, **_plain(enhance)), _enhance_input(preset)),
        }
    )


def _cameranet_one_stage(
    *,
    preset: str = "paper",
    noise_map: bool | None = None,
    exposure: Exposure = "none",
    convs: int = 6,
    **shape: Any,
) -> LearnedISP:
    """Twice the convolutions a level, with Enhance-Net's dilations; which ones the paper took it does not say."""
    packed = _packed(preset, noise_map, exposure, writes=Domain.DISPLAY_RGB)
    chosen_shape = chosen(cameranet.ENHANCE_PRESETS, preset, convs=convs, **shape)
    return LearnedISP({"isp": Part(cameranet.CameraUNet(packed.channels, chosen_shape), packed)})


def _cameranet_three_stage(
    *,
    preset: str = "paper",
    noise_map: bool | None = None,
    exposure: Exposure = "none",
    convs: int = 2,
) -> LearnedISP:
    """Demosaicing in the sensor's colors, then denoising and white balance, then enhancement (section IV-B)."""
    packed = _packed(preset, noise_map, exposure, writes=Domain.CAMERA_RGB)
    restore = chosen(cameranet.RESTORE_PRESETS, preset, convs=convs)
    balance = PictureAdapter(reads=Domain.CAMERA_RGB, writes=Domain.LINEAR_RGB, writes_space="xyz")
    return LearnedISP(
        {
            "demosaic": Part(cameranet.CameraUNet(packed.channels, restore), packed),
            "restore": Part(cameranet.CameraUNet(3, restore), balance),
            "enhance": Part(cameranet.enhance_net(preset, convs=convs), _enhance_input(preset)),
        }
    )


def _srgan_can(
    *,
    preset: str = "paper",
    noise_map: bool | None = None,
    exposure: Exposure = "none",
    restore: Mapping[str, Any] | None = None,
    enhance: Mapping[str, Any] | None = None,
) -> LearnedISP:
    packed = _packed(preset, noise_map, exposure, writes=Domain.LINEAR_RGB)
    first, second = _srgan_and_can(preset, packed.channels, restore, enhance)
    return LearnedISP({"restore": Part(first, packed), "enhance": Part(second, PictureAdapter(curve="srgb"))})


def _srgan_can_one_stage(
    *,
    preset: str = "paper",
    noise_map: bool | None = None,
    exposure: Exposure = "none",
    restore: Mapping[str, Any] | None = None,
    enhance: Mapping[str, Any] | None = None,
) -> LearnedISP:
    """The same two nets as one, without a picture between them that could be taught."""
    packed = _packed(preset, noise_map, exposure, writes=Domain.DISPLAY_RGB)
    first, second = _srgan_and_can(preset, packed.channels, restore, enhance)
    return LearnedISP({"isp": Part(chain.ChainNet(first, second), packed)})


def _srgan_and_can(
    preset: str, inputs: int, restore: Mapping[str, Any] | None, enhance: Mapping[str, Any] | None
) -> tuple[srgan.SrganNet, can24.CanNet]:
    first = srgan.SrganNet(inputs, chosen(srgan.PRESETS, preset, **_plain(restore)))
    return first, can24.CanNet(chosen(can24.PRESETS, preset, **_plain(enhance)))


def _sid_unet(
    *, preset: str = "paper", noise_map: bool = False, exposure: Exposure = "baseline", **shape: Any
) -> LearnedISP:
    """The ratio of exposures, which the paper multiplies by, is the frame's baseline exposure."""
    packed = PackedAdapter(noise_map=noise_map, exposure=exposure)
    return LearnedISP(
        {"isp": Part(sid_unet.SidUNet(packed.channels, chosen(sid_unet.PRESETS, preset, **shape)), packed)}
    )


def _deepcamera(*, preset: str = "paper", exposure: Exposure = "none", **shape: Any) -> LearnedISP:
    net = deepcamera.DeepCamera(chosen(deepcamera.PRESETS, preset, **shape))
    return LearnedISP({"isp": Part(net, PackedAdapter(exposure=exposure))})


def _l3(*, preset: str = "paper", exposure: Exposure = "none", **shape: Any) -> LearnedISP:
    """Its table is fitted, not trained: `isp.parts["isp"].net.fit`."""
    net = l3.L3Net(chosen(l3.PRESETS, preset, **shape))
    return LearnedISP({"isp": Part(net, PackedAdapter(exposure=exposure))})


def _nafnet(
    *,
    preset: str = "paper",
    noise_map: bool = False,
    exposure: Exposure = "none",
    writes: str = "display_rgb",
    **shape: Any,
) -> LearnedISP:
    """`writes`: display_rgb, or linear_rgb where it is to restore alone, as deepisp-ll."""
    packed = PackedAdapter(_picture("nafnet", writes), noise_map=noise_map, exposure=exposure)
    return LearnedISP({"isp": Part(nafnet.NafNet(packed.channels, chosen(nafnet.PRESETS, preset, **shape)), packed)})


def _anscombe(
    *,
    preset: str = "paper",
    exposure: Exposure = "none",
    balance: bool = True,
    noise: Noise = "profile",
    sensor: str = "",
    colors: Colors = "net",
    curve: Curve = "srgb",
    writes: str = "display_rgb",
    **shape: Any,
) -> LearnedISP:
    """`noise`: the frame's profile, of `sensor` by ISO, or blind (auto: where needed); stabilizing alone needs it."""
    net = anscombe.AnscombeNet(chosen(anscombe.PRESETS, preset, **shape))
    adapter = AnscombeAdapter(
        _picture("anscombe", writes),
        exposure,
        balance=balance,
        noise=noise if net.shape.stabilize else "none",
        sensor=sensor,
        colors=colors,
        curve=curve,
    )
    return LearnedISP({"isp": Part(net, adapter)})


def _dir(*, preset: str = "paper", **shape: Any) -> LearnedISP:
    return _restoring(dir_net.DirNet(chosen(dir_net.PRESETS, preset, **shape)))


def _auto_encoder(*, preset: str = "paper", **shape: Any) -> LearnedISP:
    """DiR's rival: the same encoder and decoder."""
    return _restoring(dir_net.AutoEncoder(chosen(dir_net.CODE_PRESETS, preset, **shape)))


def _nafnet_rgb(*, preset: str = "paper", **shape: Any) -> LearnedISP:
    return _restoring(nafnet.NafNet(3, chosen(nafnet.PRESETS, preset, **shape)))


def _unet_rgb(*, preset: str = "paper", **shape: Any) -> LearnedISP:
    return _restoring(picture_unet.PictureUNet(chosen(picture_unet.PRESETS, preset, **shape)))


def _restoring(net: PictureNet) -> LearnedISP:
    """A finished picture in, a better one out."""
    return LearnedISP({"isp": Part(net, PictureAdapter(reads=Domain.DISPLAY_RGB))})


def _picture(name: str, writes: str) -> Domain:
    if writes not in (Domain.DISPLAY_RGB.value, Domain.LINEAR_RGB.value):
        raise ParamError(f"{name}: writes={writes!r} must be display_rgb or linear_rgb")
    return Domain(writes)


def _plain(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options out of JSON or YAML: lists stand for tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in (options or {}).items()}


def _word(value: Any) -> str:
    """As YAML writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_word, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _packed(preset: str, noise_map: bool | None, exposure: Exposure, *, writes: Domain) -> PackedAdapter:
    wanted = preset != "released" if noise_map is None else noise_map
    space: Space = "xyz" if writes is Domain.LINEAR_RGB else "rgb"
    return PackedAdapter(writes, noise_map=wanted, exposure=exposure, space=space)


def _enhance_input(preset: str) -> PictureAdapter:
    if preset == "released":
        return PictureAdapter(curve="power", space="xyz")
    return PictureAdapter(curve="srgb")


BUILDERS: Mapping[str, Callable[..., LearnedISP]] = {
    "deepisp": _deepisp,
    "deepisp-ll": _deepisp_ll,
    "cameranet": _cameranet,
    "cameranet-one-stage": _cameranet_one_stage,
    "cameranet-three-stage": _cameranet_three_stage,
    "srgan-can": _srgan_can,
    "srgan-can-one-stage": _srgan_can_one_stage,
    "sid-unet": _sid_unet,
    "deepcamera": _deepcamera,
    "l3": _l3,
    "nafnet": _nafnet,
    "anscombe": _anscombe,
    "dir": _dir,
    "auto-encoder": _auto_encoder,
    "nafnet-rgb": _nafnet_rgb,
    "unet-rgb": _unet_rgb,
}
"""name -> function(options) -> LearnedISP"""

SHAPES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "deepisp": {"isp": deepisp.PRESETS},
    "deepisp-ll": {"isp": deepisp.LOW_PRESETS},
    "cameranet": {"restore": cameranet.RESTORE_PRESETS, "enhance": cameranet.ENHANCE_PRESETS},
    "cameranet-one-stage": {"isp": cameranet.ENHANCE_PRESETS},
    "cameranet-three-stage": {"nets": cameranet.RESTORE_PRESETS},
    "srgan-can": {"restore": srgan.PRESETS, "enhance": can24.PRESETS},
    "srgan-can-one-stage": {"restore": srgan.PRESETS, "enhance": can24.PRESETS},
    "sid-unet": {"isp": sid_unet.PRESETS},
    "deepcamera": {"isp": deepcamera.PRESETS},
    "l3": {"isp": l3.PRESETS},
    "nafnet": {"isp": nafnet.PRESETS},
    "anscombe": {"isp": anscombe.PRESETS},
    "dir": {"isp": dir_net.PRESETS},
    "auto-encoder": {"isp": dir_net.CODE_PRESETS},
    "nafnet-rgb": {"isp": nafnet.PRESETS},
    "unet-rgb": {"isp": picture_unet.PRESETS},
}
"""name -> net -> preset -> shape, whose fields are options: of the name itself or, with several nets, of a net"""
