"""Heads around networks of others: torchvision, timm where installed, and any `nn.Module` of the user."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ispkit.core.errors import MissingExtraError, ParamError
from ispkit.core.imports import imported
from ispkit.nets.fastestdet import FastestDet
from ispkit.perceive.classifier import Classifier
from ispkit.perceive.detection_head import DetectionHead
from ispkit.perceive.head import Head
from ispkit.perceive.net_head import Norms, Reading
from ispkit.perceive.segmenter import Segmenter

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLASSES = 1000


@dataclass(frozen=True)
class ExternalOptions:
    """How a network of others is read."""

    task: Literal["classify", "segment"] = "classify"
    """what it does: gives logits (B, K), or (B, K, h, w)"""
    names: tuple[str, ...] = ()
    """of the classes; empty: what its package tells, else their numbers"""
    classes: int | None = None
    """how many; None: as the names, the weights or 1000"""
    weights: tuple[str, ...] = ()
    """one .pth or .safetensors file of the model's state dict, which the user fetched; nothing is downloaded"""
    size: int | None = None
    """side of the square pictures that it reads; None: as it was trained, 0: any"""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    norms: Norms = "batch"
    label_smoothing: float = 0.0


def torchvision_head(name: str, options: ExternalOptions) -> Head:
    """A model of torchvision by its name, e.g. "resnet18". Raises `MissingExtraError`, `ParamError`."""
    models = _package("torchvision.models", "torchvision")
    try:
        published = models.get_model_weights(name)["DEFAULT"] if options.weights else None  # facts about it, no file
        wanted = {} if options.classes is None else {"num_classes": options.classes}
        net = models.get_model(name, weights=None, **wanted)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ParamError(f"torchvision:{name}: {error}; see torchvision.models.list_models()") from error
    trained = published.transforms() if published is not None else None
    side = int(trained.crop_size[0]) if trained is not None else 224
    told = tuple(published.meta.get("categories", ())) if published is not None and options.classes is None else ()
    known = (side, tuple(trained.mean), tuple(trained.std)) if trained is not None else (side, None, None)
    return wrapped(net, options, names=told, known=known)


def timm_head(name: str, options: ExternalOptions) -> Head:
    """A model of timm by its name, e.g. "mobilenetv3_small_100". Raises `MissingExtraError`, `ParamError`."""
    timm = _package("timm", "timm")
    wanted = {} if options.classes is None else {"num_classes": options.classes}
    try:
        net = timm.create_model(name, pretrained=False, **wanted)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ParamError(f"timm:{name}: {error}; see timm.list_models()") from error
    told = dict(getattr(net, "pretrained_cfg", None) or {})
    side = int(told.get("input_size", (3, 224, 224))[-1])
    known = (side, tuple(told["mean"]) if "mean" in told else None, tuple(told["std"]) if "std" in told else None)
    return wrapped(net, options, names=(), known=known)


def module_head(place: str, options: ExternalOptions) -> Head:
    """What the user's function `package.module:function` or `path/file.py:function` returns.

    That is a `Head`, or an `nn.Module` that gives logits, which is read by the options. Raises `ParamError`.
    """
    made = _function(place)
    try:
        net = made()
    except Exception as error:  # it is the user's: whatever it raises is told with its place
        raise ParamError(f"module:{place}: the function raised {type(error).__name__}: {error}") from error
    if isinstance(net, Head):
        return net
    if isinstance(net, FastestDet):
        return DetectionHead(net, options.names or tuple(map(str, range(net.detect_head.classes))), norms=options.norms)
    if not isinstance(net, nn.Module):
        raise ParamError(f"module:{place}: gave {type(net).__name__}; it should give an nn.Module or a Head")
    return wrapped(net, options, names=(), known=(0, (0.0,) * 3, (1.0,) * 3))


def wrapped(net: nn.Module, options: ExternalOptions, *, names: Sequence[str], known: tuple[int, Any, Any]) -> Head:
    """The network as a head; `known`: side (0: any), mean and std (None: ImageNet's), where the options do not tell."""
    told = options.names or tuple(names) or tuple(f"class {i}" for i in range(options.classes or _CLASSES))
    side = known[0] if options.size is None else options.size
    mean, std = options.mean or known[1] or IMAGENET_MEAN, options.std or known[2] or IMAGENET_STD
    reading = Reading((side, side) if side else None, mean, std, options.order)
    if options.task == "segment":
        return Segmenter(net, told, reading=reading, norms=options.norms)
    return Classifier(net, told, reading=reading, norms=options.norms, label_smoothing=options.label_smoothing)


def _function(place: str) -> Any:
    module, _, attribute = place.rpartition(":")
    if not module.endswith(".py"):
        return imported(place)
    file = Path(module)
    spec = importlib.util.spec_from_file_location(file.stem, file) if file.is_file() else None
    if spec is None or spec.loader is None:
        raise ParamError(f"module:{place}: no such file; write module:path/file.py:function")
    found = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
        return getattr(found, attribute)
    except Exception as error:
        raise ParamError(f"module:{place}: cannot be loaded ({type(error).__name__}: {error})") from error


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"{name}: models need the package {name}; pip install {name}") from error
