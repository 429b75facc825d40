"""Rivals of networks that restore finished pictures: doing nothing, non-local means, BM3D, and one that is tuned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ispkit.bench.learned_rivals import Turned
from ispkit.core.errors import BlackBoxError, DomainError, MissingExtraError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.data.samples import Sample
from ispkit.data.scenes import Scene
from ispkit.isp.external.base import BlackBox, Plain
from ispkit.isp.external.bm3d import Bm3dISP, estimate_sigma
from ispkit.isp.external.function import FunctionISP
from ispkit.isp.pipeline import ISP
from ispkit.ops.rgb_denoise import denoise
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.plan import Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.study import tune

_LOG = logging.getLogger(__name__)
AS_IS, NLM, BM3D, TUNED = "as it is", "non-local means", "BM3D", "non-local means, tuned"
TRIALS = 150
"""renders of the training pictures that a tuned rival may spend"""
_LEAST_SIGMA = 1e-4


class BlindNlm(BlackBox):
    """Non-local means of finished pictures (DISPLAY_RGB) whose strength follows the noise of each picture itself.

    The noise is estimated as for `Bm3dISP` (diagonal details, taken for white: demosaicing and compression make it read
    low); luma and chroma then have their own strengths in its units, as the stage `denoise` has.
    """

    reads = Domain.DISPLAY_RGB
    writes = Domain.DISPLAY_RGB

    def __init__(self) -> None:
        self.space = ParamSpace(
            {
                "nlm.luma": _number(1.0, 0.0, 16.0, "strength on brightness noise; 1 suits the estimate"),
                "nlm.chroma": _number(1.0, 0.0, 16.0, "strength on color noise; 1 suits the estimate"),
                "nlm.least": _number(0.0, 0.0, 0.1, "sigma that is taken for granted, in units of white"),
                "nlm.radius": _number(5.0, 1.0, 8.0, "of the search, px"),
                "nlm.patch": Choice(default="3", options=("3", "5"), doc="width of the compared patches, px"),
            }
        )

    def render_one(self, frame: Frame, values: Plain) -> Tensor:
        """Denoise one picture."""
        sigma = max(estimate_sigma(frame.data), float(values["nlm.least"]), _LEAST_SIGMA)
        strengths = float(values["nlm.luma"]), float(values["nlm.chroma"])
        made = denoise(
            frame.data,
            frame.data / sigma,
            strengths,
            method="nlm",
            radius=float(values["nlm.radius"]),
            patch_radius=int(values["nlm.patch"]) // 2,
        )
        return made[0].clamp(0.0, 1.0)


class _Bm3d:
    """BM3D at its defaults; where the package gives no numbers, which it does for some, the picture stays as it is."""

    def __init__(self) -> None:
        self.isp = Bm3dISP()

    def __call__(self, frame: Frame, values: Plain) -> Tensor:
        try:
            return self.isp(frame).data
        except BlackBoxError as error:
            _LOG.warning("a picture of %d x %d is left as it is: %s", *frame.size, error)
            return frame.data


def as_it_is() -> ISP:
    """The picture that it is given: what every rival has to beat."""
    return FunctionISP(_same, ParamSpace({}), Domain.DISPLAY_RGB, Domain.DISPLAY_RGB)


def rivals(out: Path, known: Sequence[Sample], *, seed: int, trials: int = TRIALS) -> dict[str, ISP]:
    """Name -> ISP that reads and writes finished pictures; BM3D is left out where it is not installed (`missing`).

    `known` are training pairs, which the tuned one is tuned on for PSNR; its study lies under `out` and can be gone on
    with. Raises `DomainError` for pairs of RAW.
    """
    found: dict[str, ISP] = {AS_IS: as_it_is(), NLM: BlindNlm()}
    if not missing():
        found[BM3D] = FunctionISP(_Bm3d(), ParamSpace({}), Domain.DISPLAY_RGB, Domain.DISPLAY_RGB)
    found[TUNED] = tuned(BlindNlm(), out / "nlm", known, seed=seed, trials=trials)
    return found


def missing() -> str:
    """A sentence for a table's note where BM3D cannot take part; empty where it can."""
    try:
        Bm3dISP()
    except MissingExtraError:
        return "BM3D is left out: the package bm3d, free for non-commercial use only, is not installed."
    return ""


def tuned(isp: ISP, folder: Path, known: Sequence[Sample], *, seed: int, trials: int = TRIALS) -> ISP:
    """The ISP with all its knobs tuned for the mean PSNR of training pairs, in so many renders of them all."""
    problem = PictureProblem(isp, scenes_of(known), REFERENCE["psnr"])
    result = tune(problem, folder, Plan(method="auto", budget=float(trials), seed=seed, noisy=False))
    return Turned(isp, result.best.values)


def scenes_of(known: Sequence[Sample]) -> list[Scene]:
    """Each picture of each batch as a scene of its own; views of one picture as well. Raises `DomainError`."""
    scenes = []
    for k, sample in enumerate(known):
        if sample.frame.domain is not Domain.DISPLAY_RGB:
            raise DomainError(f"rivals restore display_rgb, pair {k} is {sample.frame.domain.value}")
        for i in range(sample.frame.batch):
            scenes.append(Scene(f"{sample.names[i]}-{k}-{i}", sample.frame.select([i]), sample.target[i : i + 1]))
    return scenes


def noise_of(picture: Tensor) -> Tensor:
    """Estimated sigma of each picture of (B, 3, H, W), (B,): what the blind rivals go by."""
    return torch.tensor([estimate_sigma(one[None]) for one in picture])


def _number(default: float, low: float, high: float, doc: str) -> Param:
    return Param(default=default, low=low, high=high, differentiable=False, doc=doc)


def _same(frame: Frame, values: Plain) -> Tensor:
    return frame.data
