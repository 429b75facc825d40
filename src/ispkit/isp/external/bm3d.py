"""`Bm3dISP`: the denoiser BM3D of Tampere University, installed by the user, free for non-commercial use only.

Dabov, Foi, Katkovnik, Egiazarian, "Image Denoising by Sparse 3-D Transform-Domain Collaborative Filtering", IEEE
Trans. Image Processing 16(8), 2007. The package's license allows no redistribution: `pip install bm3d` is yours to do.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import BlackBoxError, MissingExtraError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Knob, Param
from ispkit.core.space import ParamSpace
from ispkit.isp.external.base import BlackBox, Plain

_TRANSFORMS = ("bior1.5", "dct", "haar", "db2")
_BLOCKS = ("4", "8", "16")
_MAD = 0.6745  # median of |x| of a standard normal
_FAST = {"nf": 0, "k": 0, "gamma": 0.0, "step_ht": 4, "step_wiener": 4}
_LEAST_SIGMA = 1e-4


class Bm3dISP(BlackBox):
    """DISPLAY_RGB -> DISPLAY_RGB by `bm3d.bm3d_rgb`, at the picture's estimated noise times `bm3d.sigma_scale`.

    The estimate takes noise for white, which demosaicing makes it not: it reads low, and the scale is the first
    thing to tune. One thread, so that repeats are bit-identical. With `fast` (default) block matching takes white
    noise for granted and every fourth block: about 9 times faster at 256 x 256. Frames of 32 pixels a side and more.
    Raises `MissingExtraError` where the package is not installed.
    """

    reads = Domain.DISPLAY_RGB
    writes = Domain.DISPLAY_RGB

    def __init__(self, *, fast: bool = True) -> None:
        try:
            self._package: Any = importlib.import_module("bm3d")
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "BM3D is not installed; it is free for non-commercial use only and never comes with ispkit. "
                "If its license suits you, run: pip install bm3d"
            ) from error
        self.space = ParamSpace(_knobs())
        self.fast = fast

    def __getstate__(self) -> dict[str, Any]:
        return {"fast": self.fast}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(fast=state["fast"])  # type: ignore[misc]

    def render_one(self, frame: Frame, values: Plain) -> Tensor:
        """Denoise one picture."""
        pixels = frame.data[0].detach().cpu().permute(1, 2, 0).double().numpy()
        sigma = max(estimate_sigma(frame.data) * float(values["bm3d.sigma_scale"]), _LEAST_SIGMA)
        space = str(values["bm3d.color_space"])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of wavelets on blocks as short as these
                denoised = self._package.bm3d_rgb(pixels, sigma, self._profile(values), space)
        except Exception as error:  # the package's own checks and its binary's
            raise BlackBoxError(f"bm3d raised {type(error).__name__}: {error}") from error
        if denoised.shape != pixels.shape or not np.isfinite(denoised).all():
            raise BlackBoxError(f"bm3d gave no finite picture of {pixels.shape}")
        return torch.from_numpy(denoised.astype(np.float32)).permute(2, 0, 1).clamp(0, 1)

    def _profile(self, values: Plain) -> Any:
        profile = self._package.BM3DProfile()
        facts: dict[str, Any] = {
            "num_threads": 1,
            "lambda_thr3d": float(values["bm3d.threshold"]),
            "mu2": float(values["bm3d.wiener_mu2"]),
            "tau_match": float(values["bm3d.match_threshold"]),
            "search_window_ht": int(values["bm3d.search_window"]),
            "search_window_wiener": int(values["bm3d.search_window"]),
            "max_3d_size_ht": int(values["bm3d.stack"]),
            "max_3d_size_wiener": 2 * int(values["bm3d.stack"]),
            "bs_ht": int(values["bm3d.block"]),
            "bs_wiener": int(values["bm3d.wiener_block"]),
            "transform_2d_ht_name": values["bm3d.transform"],
            "transform_2d_wiener_name": values["bm3d.wiener_transform"],
        }
        for name, value in (facts | (_FAST if self.fast else {})).items():
            setattr(profile, name, value)
        return profile


def estimate_sigma(picture: Tensor) -> float:
    """Standard deviation of white noise in (1, C, H, W), the mean over the channels.

    Median of the absolute diagonal Haar details of 2x2 blocks, over 0.6745 (Donoho and Johnstone, "Ideal Spatial
    Adaptation by Wavelet Shrinkage", Biometrika 81(3), 1994).
    """
    height, width = (n - n % 2 for n in picture.shape[-2:])
    a, b = picture[..., :height:2, :width:2], picture[..., :height:2, 1:width:2]
    c, d = picture[..., 1:height:2, :width:2], picture[..., 1:height:2, 1:width:2]
    detail = ((a - b - c + d) / 2).abs().flatten(2)
    return float(detail.median(dim=2).values.mean()) / _MAD


def _number(default: float, low: float, high: float, doc: str, **more: Any) -> Param:
    return Param(default=default, low=low, high=high, differentiable=False, doc=doc, **more)


def _knobs() -> dict[str, Knob]:
    return {
        "bm3d.sigma_scale": _number(1.0, 0.5, 32.0, "on the estimated noise", scale="log"),
        "bm3d.threshold": _number(2.7, 1.0, 6.0, "of the hard threshold, in sigmas"),
        "bm3d.match_threshold": _number(3000, 300, 30000, "of the distance of like blocks", scale="log"),
        "bm3d.wiener_mu2": _number(1.0, 0.1, 10.0, "weight of the noise in the Wiener filter", scale="log"),
        "bm3d.search_window": _number(39, 11, 39, "side of the search, odd", step=2, unit="px"),
        "bm3d.stack": Choice(default="16", options=("4", "8", "16", "32"), doc="most like blocks, twice as many later"),
        "bm3d.block": Choice(default="8", options=_BLOCKS, doc="side in the first step"),
        "bm3d.wiener_block": Choice(default="8", options=_BLOCKS, doc="side in the Wiener step"),
        "bm3d.transform": Choice(default="bior1.5", options=_TRANSFORMS, doc="of blocks in the first step"),
        "bm3d.wiener_transform": Choice(default="dct", options=_TRANSFORMS, doc="of blocks in the Wiener step"),
        "bm3d.color_space": Choice(default="opp", options=("opp", "YCbCr"), doc="where colors are denoised"),
    }
