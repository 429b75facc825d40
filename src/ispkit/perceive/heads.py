"""Heads by name: one plain dict. `open_head("mobilenet-v1", weights="folder")` is all that most callers need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.core.weights import read_weights
from ispkit.data.pairs_files import lines
from ispkit.data.regions import VOC
from ispkit.nets.deeplab import DeepLabV3
from ispkit.nets.fastestdet import FastestDet, load_fastestdet
from ispkit.nets.layers import chosen
from ispkit.nets.mobilenet import MobileNetV1, MobileNetV2
from ispkit.perceive.classifier import Classifier
from ispkit.perceive.coco import COCO
from ispkit.perceive.detection_head import SIDE, DetectionHead
from ispkit.perceive.external_heads import ExternalOptions, module_head, timm_head, torchvision_head
from ispkit.perceive.head import Head
from ispkit.perceive.net_head import Norms, Reading
from ispkit.perceive.published import FILES, weight_files
from ispkit.perceive.segmenter import Segmenter
from ispkit.perceive.tflite_weights import fill_tflite, folded_layers, kind_of, width_of

_CLASSES = 1000
_SIDE = 224
_SEGMENT_SIDE = 513
_TFLITE = ".tflite"
Built = tuple[Head, Any]
"""a head, and its options with everything settled that weights decided"""


@dataclass(frozen=True)
class MobileNetOptions:
    """A MobileNet as a classifier."""

    weights: tuple[str, ...] = ()
    """empty: fresh ones. .tflite files (two where the network is in two parts), one .pth or .safetensors file of the
    state dict, a folder of the published files, or "published" to be told which these are"""
    names: tuple[str, ...] = ()
    """of the classes; empty: their numbers"""
    classes: int | None = None
    """how many; where it is not that of the weights the last layer is fresh. None: as the names or weights, or 1000"""
    width: float | None = None
    """multiplies the channels; None: that of the .tflite weights, or 1"""
    size: int | None = None
    """side of the square pictures that the network reads; None: that of the .tflite weights, or 224; 0: any"""
    stem_stride: int = 2
    """1 for small pictures"""
    dropout: float | None = None
    """None: as published"""
    norms: Norms | None = None
    """None: "fixed" with .tflite weights, into which the norms are folded, else "batch" """
    label_smoothing: float = 0.0
    background: bool | None = None
    """one more output before the classes, as the published networks have, which is left out; None: as the weights"""


@dataclass(frozen=True)
class FastestDetOptions:
    """FastestDet as a detector."""

    weights: tuple[str, ...] = ()
    """empty: fresh ones; a .pth file, a folder of the published one, or "published" """
    names: tuple[str, ...] = ()
    """of the classes; empty: COCO's"""
    size: int = SIDE
    """side of the square that pictures are stretched to, a multiple of 32"""
    norms: Norms = "batch"


@dataclass(frozen=True)
class DeepLabOptions:
    """DeepLabv3 on MobileNet-v2 as a segmenter."""

    weights: tuple[str, ...] = ()
    """empty: fresh ones; a .tflite, .pth or .safetensors file, a folder of the published file, or "published" """
    names: tuple[str, ...] = ()
    """of the classes; empty: those of Pascal VOC"""
    classes: int | None = None
    """how many; where it is not that of the weights the last layer is fresh"""
    width: float | None = None
    """None: that of the .tflite weights, or 0.5"""
    size: int | None = None
    """side of the square that pictures are stretched to; None: that of the .tflite weights, or 513; 0: as they come"""
    norms: Norms | None = None
    """None: "fixed" with .tflite weights, else "batch" """


def open_head(name_or_file: str | Path, **options: Any) -> Head:
    """A network that looks at pictures, by name or file.

    Names are those of `HEADS`, `torchvision:NAME`, `timm:NAME`, `module:package.module:function` or
    `module:path/file.py:function`. Files are .yaml (`head: NAME` and options) and .tflite (told by its layers). Options
    are the fields of the name's options, plain data; `names` may be a file with a name a line, `weights` one path.
    Raises `ParamError`, `FileError`, `MissingExtraError`.

    >>> open_head("mobilenet-v1", width=0.25, classes=10, size=32, stem_stride=1).task
    'classify'
    """
    word = str(name_or_file)
    if word.lower().endswith((".yaml", ".yml")):
        content = _yaml(Path(word))
        return open_head(content.pop("head"), **{**content, **options})
    if word.lower().endswith(_TFLITE):
        return open_head(kind_of(Path(word)), **{"weights": word, **options})
    prefix, colon, rest = word.partition(":")
    key = f"{prefix}:" if colon else word
    if key not in HEADS:
        raise ParamError(f"no head {word!r}; {nearest(word, HEADS)}")
    default, build = HEADS[key]
    try:
        head, settled = build(rest, chosen({key: default}, key, **_plain(options)))
    except ParamError as error:
        raise ParamError(f"{word}: {error}") from error
    told = {f.name: getattr(settled, f.name) for f in fields(settled) if f.name != "weights"}
    words = {k: list(v) if isinstance(v, tuple) else v for k, v in told.items() if v is not None}
    head.spec = {"name": word, **words}
    head.trained = key == "module:" or bool(options.get("weights"))
    return head


def _mobilenet_v1(_: str, options: Any) -> Built:
    return _mobilenet("mobilenet-v1", MobileNetV1, options)


def _mobilenet_v2(_: str, options: Any) -> Built:
    return _mobilenet("mobilenet-v2", MobileNetV2, options)


def _mobilenet(kind: str, make: type[MobileNetV1 | MobileNetV2], options: MobileNetOptions) -> Built:
    files = _files(kind, options)
    folded, side = folded_layers(files) if files and files[0].suffix == _TFLITE else ((), None)
    published = len(folded[-1].bias) if folded else None
    whole = published == _CLASSES + 1 and options.classes in (None, _CLASSES)
    skip = int(whole if options.background is None else options.background)
    names = options.names[1:] if skip and len(options.names) == published else options.names
    classes = _classes(options, names, (published or _CLASSES) - skip)
    keeps_last = published == classes + skip
    settled = replace(
        options,
        weights=(),
        names=names or tuple(f"class {i}" for i in range(classes)),
        classes=classes,
        width=options.width or (width_of(folded) if folded else 1.0),
        size=(side or _SIDE) if options.size is None else options.size,
        norms=options.norms or ("fixed" if folded else "batch"),
        background=bool(skip and (keeps_last or not folded)),
    )
    net = _mobilenet_net(make, settled)
    if folded:
        fill_tflite(net, folded, files, last=keeps_last)
    elif files:
        _fill(net, read_weights(files[0], f"the weights of {kind}"), files[0])
    head = Classifier(
        net,
        settled.names,
        reading=Reading((settled.size, settled.size) if settled.size else None),
        norms=settled.norms or "batch",
        skip=int(bool(settled.background)),
        label_smoothing=options.label_smoothing,
    )
    return head, settled


def _mobilenet_net(make: type[MobileNetV1 | MobileNetV2], settled: MobileNetOptions) -> MobileNetV1 | MobileNetV2:
    settings: dict[str, Any] = {"stem_stride": settled.stem_stride, "width": settled.width}
    settings |= {} if settled.dropout is None else {"dropout": settled.dropout}
    return make((settled.classes or 0) + int(bool(settled.background)), **settings)


def _deeplab(_: str, options: DeepLabOptions) -> Built:
    files = _files("deeplab-v3", options)
    folded, side = folded_layers(files) if files and files[0].suffix == _TFLITE else ((), None)
    published = len(folded[-1].bias) if folded else len(VOC)
    classes = _classes(options, options.names, published)
    settled = replace(
        options,
        weights=(),
        names=options.names or (VOC if classes == len(VOC) else tuple(f"class {i}" for i in range(classes))),
        classes=classes,
        width=options.width or (width_of(folded) if folded else 0.5),
        size=(side or _SEGMENT_SIDE) if options.size is None else options.size,
        norms=options.norms or ("fixed" if folded else "batch"),
    )
    net = DeepLabV3(classes, width=settled.width or 0.5)
    if folded:
        fill_tflite(net, folded, files, last=classes == published)
    elif files:
        _fill(net, read_weights(files[0], "the weights of deeplab-v3"), files[0])
    size = (settled.size, settled.size) if settled.size else None
    head = Segmenter(net, settled.names, reading=Reading(size), norms=settled.norms or "batch", align_corners=True)
    return head, settled


def _fastestdet(_: str, options: FastestDetOptions) -> Built:
    files = _files("fastestdet", options)
    names = options.names or COCO
    net = load_fastestdet(files[0]).requires_grad_(True) if files else FastestDet(len(names))
    head = DetectionHead(net, names, size=(options.size, options.size), norms=options.norms)
    return head, replace(options, weights=(), names=names)


def _classes(options: MobileNetOptions | DeepLabOptions, names: Sequence[str], known: int) -> int:
    if options.classes and names and options.classes != len(names):
        raise ParamError(f"classes={options.classes} does not fit {len(names)} names; leave one of the two out")
    return options.classes or len(names) or known


def _files(network: str, options: Any) -> list[Path]:
    """The files of the weights; of MobileNets those of the wanted width."""
    width = getattr(options, "width", None)
    narrow = f"{network}-{width:g}" if width is not None else network
    return weight_files(options.weights, narrow if narrow in FILES else network)


def _fill(net: nn.Module, found: Mapping[str, Any], path: str | Path) -> None:
    """Give a network the weights of its own state dict, or of that of its head."""
    own = bool(set(net.state_dict()) & set(found))
    try:
        net.load_state_dict(dict(found) if own else {k.removeprefix("net."): v for k, v in found.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:160]
        raise FileError(f"{path}: no weights of this {type(net).__name__}: {reason}") from error


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """One word where several could be: a path of weights, a file of names."""
    plain = dict(options)
    if isinstance(plain.get("weights"), str | Path):
        plain["weights"] = [str(plain["weights"])]
    elif "weights" in plain:
        plain["weights"] = [str(word) for word in plain["weights"] or ()]
    if isinstance(plain.get("names"), str | Path):
        plain["names"] = lines(Path(plain["names"]))
    return plain


def _external(make: Callable[[str, ExternalOptions], Head]) -> tuple[Any, Callable[[str, Any], Built]]:
    def build(rest: str, options: ExternalOptions) -> Built:
        head = make(rest, options)
        if options.weights:
            path = options.weights[0]
            _fill(getattr(head, "net", head), read_weights(path, "the weights of a head"), path)
        return head, replace(options, names=head.names)

    return ExternalOptions(), build


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("head"), str):
        raise FileError(f"{path}: a head's file has a line `head: NAME` and a line for each option")
    return content


HEADS: Mapping[str, tuple[Any, Callable[[str, Any], Built]]] = {
    "mobilenet-v1": (MobileNetOptions(), _mobilenet_v1),
    "mobilenet-v2": (MobileNetOptions(), _mobilenet_v2),
    "fastestdet": (FastestDetOptions(), _fastestdet),
    "deeplab-v3": (DeepLabOptions(), _deeplab),
    "torchvision:": _external(torchvision_head),
    "timm:": _external(timm_head),
    "module:": _external(module_head),
}
"""name -> its options as they are by default, and what builds it; a colon: the name goes on"""
