"""Numbers about pictures: every metric gives (B,) and says its range and direction.

>>> import torch
>>> from ispkit.metrics import METRICS
>>> a = torch.zeros(1, 3, 32, 32)
>>> METRICS["psnr"](a + 0.1, a, data_range=1.0)
tensor([20.])
"""

from __future__ import annotations

import math

from ispkit.metrics import color, fidelity, lpips, niqe, nlpd, perceptual, scielab
from ispkit.metrics.base import Metric

_ALL = (
    Metric(
        name="psnr",
        title="PSNR",
        function=fidelity.psnr,
        unit="dB",
        low=-math.inf,
        high=math.inf,
        higher_is_better=True,
        doc="peak signal-to-noise ratio over all channels",
    ),
    Metric(
        name="ssim",
        title="SSIM",
        function=fidelity.ssim,
        low=-1.0,
        higher_is_better=True,
        doc="structural similarity (Wang 2004)",
    ),
    Metric(
        name="ms_ssim",
        title="MS-SSIM",
        function=fidelity.ms_ssim,
        higher_is_better=True,
        doc="multi-scale structural similarity",
    ),
    Metric(
        name="delta_e00",
        title="ΔE00",
        function=color.delta_e00,
        high=math.inf,
        higher_is_better=False,
        doc="mean ΔE00 of the pixels",
    ),
    Metric(
        name="delta_e76",
        title="ΔE*ab",
        function=color.delta_e76,
        high=math.inf,
        higher_is_better=False,
        doc="mean ΔE*ab of the pixels",
    ),
    Metric(
        name="scielab_distribution",
        title="S-CIELAB (distribution)",
        function=scielab.scielab,
        high=math.inf,
        higher_is_better=False,
        doc="S-CIELAB, filters of the authors' code",
    ),
    Metric(
        name="scielab_1996",
        title="S-CIELAB (1996)",
        function=scielab.scielab_1996,
        high=math.inf,
        higher_is_better=False,
        doc="S-CIELAB, filters of the paper of 1996",
    ),
    Metric(
        name="gmsd",
        title="GMSD",
        function=perceptual.gmsd,
        higher_is_better=False,
        doc="gradient magnitude similarity deviation (Xue 2014)",
    ),
    Metric(
        name="nlpd",
        title="NLPD",
        function=nlpd.nlpd,
        high=math.inf,
        higher_is_better=False,
        doc="normalized Laplacian pyramid distance (Laparra 2016)",
    ),
    Metric(
        name="lpips",
        title="LPIPS",
        function=lpips.lpips,
        high=math.inf,
        higher_is_better=False,
        needs_model=True,
        doc="learned perceptual distance (Zhang 2018)",
    ),
    Metric(
        name="niqe",
        title="NIQE",
        function=niqe.niqe,
        high=math.inf,
        higher_is_better=False,
        full_reference=False,
        differentiable=False,
        needs_model=True,
        doc="naturalness without a reference (Mittal 2013)",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""every metric by name"""

__all__ = ["METRICS", "Metric"]
