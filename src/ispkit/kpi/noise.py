"""Noise of flat patches: SNR, temporal and fixed-pattern noise of a series, and the check of variance = S x + O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import nnls
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.ops.luma import WEIGHTS

_TERMS = 6  # of a polynomial of second degree in x and y
_CUT = 0.005  # share of pixels at a limit above which the noise is cut
_ISO_FRAMES = 8
_LEAST_SIDE = 4


@dataclass(frozen=True)
class PatchNoise:
    """Signal and noise of one flat patch, per channel in the order of `channels`."""

    channels: tuple[str, ...]
    """"R", "G", "B", "Y" of a color patch, "Y" alone of a gray one"""
    mean: tuple[float, ...]
    sigma: tuple[float, ...]
    """standard deviation about the fitted slow gradient"""
    gradient: tuple[float, ...]
    """peak-to-peak of that gradient over the mean"""
    warnings: tuple[str, ...] = ()

    @property
    def snr(self) -> tuple[float, ...]:
        """Mean over sigma; infinite without noise."""
        return tuple(m / s if s > 0 else math.inf for m, s in zip(self.mean, self.sigma, strict=True))

    @property
    def snr_db(self) -> tuple[float, ...]:
        """20 log10 of the SNR; NaN where the mean is not positive."""
        return tuple(20 * math.log10(s) if s > 0 else math.nan for s in self.snr)

    def as_result(self, region: str = "") -> Result:
        """SNR in dB: `noise.snr_db` of Y, `noise.snr_db.r` ... of the channels."""
        warnings = list(self.warnings)
        kpis = []
        luminance_first = sorted(zip(self.channels, self.snr_db, strict=True), key=lambda pair: pair[0] != "Y")
        for channel, value in luminance_first:
            name = "noise.snr_db" + ("" if channel == "Y" else f".{channel.lower()}")
            doc = f"20 log10(mean / sigma) of {channel}, slow gradient removed"
            kpis.append(Kpi(name, value if math.isfinite(value) else math.nan, "dB", "higher", region, doc))
        without = [c for c, value in luminance_first if not math.isfinite(value)]
        if without:
            prefix = f"{region}: " if region else ""
            warnings.append(f"{prefix}no SNR in {', '.join(without)}, for there is no noise at all or no signal")
        return Result(tuple(kpis), warnings=tuple(warnings))


@dataclass(frozen=True)
class FrameNoise:
    """Noise of a series of frames of the same flat patch, after ISO 15739, in the units of the pixels."""

    frames: int
    mean: float
    temporal: float
    fixed_pattern: float
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """sqrt(temporal² + fixed_pattern²)."""
        return math.hypot(self.temporal, self.fixed_pattern)

    def as_result(self, region: str = "") -> Result:
        """SNRs and the share of the fixed pattern."""
        parts = {"temporal": self.temporal, "fixed_pattern": self.fixed_pattern, "total": self.total}
        kpis = []
        for name, sigma in parts.items():
            snr = 20 * math.log10(self.mean / sigma) if sigma > 0 and self.mean > 0 else math.nan
            doc = f"mean over {name.replace('_', ' ')} noise of {self.frames} frames (ISO 15739)"
            kpis.append(Kpi(f"noise.{name}.snr_db", snr, "dB", "higher", region, doc))
        return Result(tuple(kpis), warnings=self.warnings)


@dataclass(frozen=True)
class NoiseModelCheck:
    """RAW noise of several patches beside a noise profile variance = S x + O."""

    mean: tuple[float, ...]
    variance: tuple[float, ...]
    model_variance: tuple[float, ...]
    """of the profile at those means; NaN without a profile"""
    shot: float
    """S fitted to the patches"""
    read: float
    """O fitted to the patches"""
    warnings: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Measured over predicted variance, geometric mean of the patches; NaN without a profile."""
        pairs = zip(self.variance, self.model_variance, strict=True)
        logs = [math.log(v / m) for v, m in pairs if v > 0 and m > 0]
        return math.exp(sum(logs) / len(logs)) if logs else math.nan

    def as_result(self, region: str = "") -> Result:
        """S, O, the ratio to the profile, and the photon transfer curve."""
        kpis = [
            Kpi("noise.shot", self.shot, "", "none", region, "S of variance = S x + O, x in [0, 1]"),
            Kpi("noise.read", self.read, "", "none", region, "O of variance = S x + O, x in [0, 1]"),
        ]
        if not math.isnan(self.ratio):
            doc = "measured variance over the noise profile's, geometric mean of the patches"
            kpis.append(Kpi("noise.model_ratio", self.ratio, "", "one", region, doc))
        lines = [("measured", self.variance), ("fit", [self.shot * x + self.read for x in self.mean])]
        if not math.isnan(self.ratio):
            lines.append(("profile", self.model_variance))
        axes = ("mean", "variance")
        curves = tuple(Curve("Photon transfer", f"{n} {region}".strip(), self.mean, y, *axes) for n, y in lines)
        return Result(tuple(kpis), curves, self.warnings)


def patch_noise(patch: Tensor, *, limits: tuple[float, float] | None = (0.0, 1.0)) -> PatchNoise:
    """Mean and standard deviation of a flat patch, (H, W) or (3, H, W), in any units.

    A polynomial of second degree in x and y is fitted by least squares and taken away from every channel, so
    that shading and uneven light are not counted as noise; its six terms are taken off the degrees of
    freedom, which keeps the variance of white noise unbiased. Y is BT.709 luminance, right for linear light.
    `limits` are the values where the signal is cut (None: nowhere); a warning tells of patches that touch
    them, whose noise comes out too small. Raises `ShapeError`.
    """
    planes = _planes(patch)
    channels: tuple[str, ...] = ("Y",)
    if len(planes) == 3:
        planes = torch.cat([planes, torch.einsum("c,chw->hw", planes.new_tensor(WEIGHTS), planes)[None]])
        channels = ("R", "G", "B", "Y")
    noise, gradient = remove_gradient(planes)
    mean = planes.mean((-2, -1))
    slow = (gradient.amax((-2, -1)) - gradient.amin((-2, -1))) / mean.abs().clamp(min=1e-12)
    sigma = (noise.square().sum((-2, -1)) / (noise[0].numel() - _TERMS)).sqrt()
    sigma = torch.where(sigma > 1e-12 * mean.abs(), sigma, 0.0)  # rounding of the fit is not noise
    return PatchNoise(
        channels, tuple(mean.tolist()), tuple(sigma.tolist()), tuple(slow.tolist()), _cut(_planes(patch), limits)
    )


def remove_gradient(planes: Tensor) -> tuple[Tensor, Tensor]:
    """(..., H, W) -> what is left after a fit of second degree in x and y, and the fit without its mean."""
    height, width = planes.shape[-2:]
    y = torch.linspace(-1, 1, height, dtype=planes.dtype)[:, None].expand(height, width).flatten()
    x = torch.linspace(-1, 1, width, dtype=planes.dtype)[None].expand(height, width).flatten()
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=1)
    basis = torch.linalg.qr(terms)[0]
    flat = planes.flatten(-2)
    fit = (flat @ basis) @ basis.T
    gradient = (fit - fit.mean(-1, keepdim=True)).reshape(planes.shape)
    return (flat - fit).reshape(planes.shape), gradient


def frame_noise(frames: Tensor, *, limits: tuple[float, float] | None = (0.0, 1.0)) -> FrameNoise:
    """Split the noise of (N, H, W) frames of one flat patch into temporal and fixed-pattern noise.

    ISO 15739: with σ_diff the standard deviation of (frame - mean frame) and σ_ave that of the mean frame,
    temporal² = N / (N - 1) σ_diff² and fixed_pattern² = σ_ave² - σ_diff² / (N - 1); both follow from frames
    whose temporal noise is independent. The slow gradient of the mean frame is removed as in `patch_noise`;
    the mean of every frame is aligned first, so that flicker of the light is not noise. Eight frames or more
    are the standard's; fewer give a warning. Raises `ShapeError` for fewer than two.
    """
    if frames.ndim != 3 or len(frames) < 2:
        raise ShapeError(f"frame_noise reads (N, H, W) with N of 2 or more, got {tuple(frames.shape)}")
    planes = _planes(frames)
    count = len(planes)
    warnings = list(_cut(planes, limits))
    if count < _ISO_FRAMES:
        warnings.append(f"{count} frames are few: ISO 15739 asks for {_ISO_FRAMES}")
    level = planes.mean((-2, -1), keepdim=True)
    aligned = planes - level + level.mean()
    pixels = planes[0].numel()
    # aligned frames have lost one degree of freedom each
    diff = (aligned - aligned.mean(0)).square().sum() / (count * (pixels - 1))
    average = remove_gradient(aligned.mean(0)[None])[0].square().sum() / (pixels - _TERMS)
    fixed = float(average - diff / (count - 1))
    if fixed < 0:
        warnings.append("the fixed pattern is too weak to be told from the temporal noise: 0")
    temporal = math.sqrt(float(diff) * count / (count - 1))
    return FrameNoise(count, float(level.mean()), temporal, math.sqrt(max(fixed, 0.0)), tuple(warnings))


def noise_model_check(
    mean: Sequence[float], variance: Sequence[float], *, profile: tuple[float, float] | None = None
) -> NoiseModelCheck:
    """Fit variance = S x + O to patches of a RAW picture and compare them with `profile` = (S, O).

    `mean` and `variance` per patch, black level 0 and white level 1, of one channel. Least squares of the
    relative errors (a measured variance scatters in proportion to itself), reweighted three times; S and O
    are at least 0.
    """
    if len(mean) != len(variance) or len(mean) < 2:
        raise ParamError(f"give the mean and the variance of two patches or more, got {len(mean)} and {len(variance)}")
    x, y = torch.tensor(list(mean), dtype=torch.float64), torch.tensor(list(variance), dtype=torch.float64)
    if not bool(torch.isfinite(x).all() and (y > 0).all() and torch.isfinite(y).all()):
        raise ParamError("every patch needs a finite mean and a variance above 0; leave flawless patches out")
    expected, shot, read = y, 0.0, 0.0
    for _ in range(4):
        system = torch.stack([x.clamp(min=0), torch.ones_like(x)], 1) / expected[:, None]
        shot, read = (float(v) for v in nnls(system.numpy(), (y / expected).numpy())[0])
        expected = (shot * x.clamp(min=0) + read).clamp(min=float(y.min()) * 1e-3)
    model = [math.nan if profile is None else profile[0] * max(m, 0.0) + profile[1] for m in x.tolist()]
    return NoiseModelCheck(tuple(x.tolist()), tuple(y.tolist()), tuple(model), shot, read)


def _planes(patch: Tensor) -> Tensor:
    if patch.ndim not in (2, 3) or min(patch.shape[-2:]) < _LEAST_SIDE:
        raise ShapeError(f"a patch is (H, W) or (3, H, W), at least 4 x 4 pixels, got {tuple(patch.shape)}")
    planes = patch.detach().cpu().double()
    return planes if planes.ndim == 3 else planes[None]


def _cut(planes: Tensor, limits: tuple[float, float] | None) -> tuple[str, ...]:
    if limits is None:
        return ()
    low, high = (float(s) for s in ((planes <= limits[0]).double().mean(), (planes >= limits[1]).double().mean()))
    texts = [
        f"{100 * s:.1f} % of the pixels are {w}: noise is cut, SNR reads too high"
        for s, w in ((low, "black"), (high, "white"))
        if s > _CUT
    ]
    return tuple(texts)
