"""Denoise the mosaic by the frame's own noise law."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.isp.stages.levels import scaled_noise
from ispkit.ops import noise, raw_denoise
from ispkit.ops.values import is_zero


class RawDenoise(Stage):
    """Variance-stabilized wavelet shrinkage of the mosaic; `luma` and `chroma` 0 leave it untouched.

    The noise law is `meta.noise_profile` with `meta.noise_map`; where the profile is zero (unknown) or
    `source="estimate"`, one law for all photosites is estimated from the picture. Afterwards the profile
    describes what is left on flat areas: S and O times the same factor, below 1. Remaining noise is no longer
    independent from pixel to pixel, and texture keeps more of it.
    """

    reads, writes = Domain.MOSAIC, Domain.MOSAIC
    global_statistics = True
    align = noise.BLOCK
    source = Choice(
        default="auto", options=("auto", "estimate"), doc="auto: the file's noise profile, an estimate if it has none"
    )
    luma = Param(default=0.0, low=0.0, high=1.0, doc="strength on what all colors share")
    chroma = Param(default=0.0, low=0.0, high=1.0, doc="strength on what differs between the colors")
    threshold = Param(
        default=1.3, low=0.7, high=3.0, unit="noise sigma", scale="log",
        doc="detail whose local deviation is below this is removed",
    )  # fmt: skip

    def apply(self, frame: Frame, *, source: str, measured: Tensor | None = None, **knobs: Number) -> Frame:
        """The mosaic with less noise, and the noise profile of a flat area after it."""
        if _off(knobs):
            return frame
        m = frame.meta
        profile = self._profile(frame, source, measured)
        sites = noise.site_profile(profile, m.cfa)
        data = raw_denoise.denoise(frame.data, sites, noise_map=m.noise_map, **knobs)
        left = raw_denoise.flat_variance_factor(**knobs).to(m.noise_profile)
        return frame.with_data(data, noise_profile=profile.to(m.noise_profile) * left.reshape(-1, 1, 1))

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """Reach of the wavelets."""
        return 0 if _off(values) else raw_denoise.REACH

    def uses_statistics(self, values: Values) -> bool:
        """Only a frame without a profile needs them, which the knobs cannot tell."""
        return not _off(values)

    def measure(self, frame: Frame, values: Values) -> Tensor:
        """Histogram of local signal and variance; zeros where the file's profile is used."""
        estimated = bool((self.source.index(values["source"]) == 1).any())
        if _off(values) or not (estimated or _unknown(frame)):
            return frame.data.new_zeros(frame.batch, noise.SIGNAL_BINS * noise.VARIANCE_BINS)
        return _histogram(frame)

    def _profile(self, frame: Frame, source: str, measured: Tensor | None) -> Tensor:
        """S and O per color of the current signal, (1 or B, 3, 2)."""
        known = frame.meta.noise_profile
        if source == "auto" and not _unknown(frame):
            return known
        law = noise.fit_profile(_histogram(frame) if measured is None else measured)
        law = scaled_noise(law[:, None].expand(-1, 3, -1), frame.meta.wb_gains.to(law)).to(known)
        return torch.where(_rows(known), known, law) if source == "auto" else law


def _off(values: Values) -> bool:
    return all(not isinstance(values[k], str) and is_zero(values[k]) for k in ("luma", "chroma"))  # type: ignore[arg-type]


def _rows(profile: Tensor) -> Tensor:
    """Which rows of (B, 3, 2) say anything, (B, 1, 1)."""
    return (profile != 0).any(dim=-1, keepdim=True).any(dim=-2, keepdim=True)


def _unknown(frame: Frame) -> bool:
    return not bool(_rows(frame.meta.noise_profile).all())


def _histogram(frame: Frame) -> Tensor:
    m = frame.meta
    return noise.noise_histogram(noise.normalized_to_sensor(frame.data, m.wb_gains, m.cfa, m.noise_map))
