"""The methods of the low-light protocol on RAW files that a camera took in the dark, labelled by their folders."""

from __future__ import annotations

import torch

from ispkit.bench.lowlight_methods import Method
from ispkit.bench.lowlight_parts import Trial
from ispkit.core.errors import ParamError
from ispkit.data.captured import CapturedPictures, Protocol, read_captured
from ispkit.perceive.judge import Looked, look


def captured_pictures(folder: str, names: tuple[str, ...], side: int, noise: str | None) -> CapturedPictures:
    """The files with the classes of the pictures that are learned from; `noise` is "alpha,sigma" of the signal.

    Raises `FileError`, `ParamError`.
    """
    return read_captured(folder, protocol=Protocol(side, noise=None if noise is None else _pair(noise)), names=names)


@torch.no_grad()
def look_at_captured(trial: Trial, method: Method, files: CapturedPictures) -> list[Looked]:
    """What a method's training says of each file (Diamond et al. 2021, section 6, table 2). Raises `FileError`."""
    isp, model = trial.isp_of(method), trial.model(method)
    found: list[Looked] = []
    for item in files:
        frame = item.frame() if isp is None else isp(item.frame())
        picture = model.picture(frame).data.clamp(0, 1)
        found += look(model.head, picture, torch.tensor([item.label]))
    return found


def _pair(text: str) -> tuple[float, float]:
    try:
        alpha, sigma = (float(word) for word in text.split(","))
    except ValueError:
        raise ParamError(f"noise {text!r} should be two numbers, such as 0.0153,0.0328 (alpha, sigma)") from None
    return alpha, sigma
