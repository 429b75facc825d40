"""Measured noise variance follows the frame's own facts through every stage that scales the signal."""

from __future__ import annotations

import pytest
import torch

from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.core.opcodes import VignetteRadial
from ispkit.isp.stages import STAGES
from ispkit.ops.cfa import spread_channels
from ispkit.ops.noise import variance
from ispkit.sensor.simulate import add_noise

SIZE = (384, 384)
NEUTRAL = torch.tensor([[0.5, 1.0, 0.7]])
CAMERA = ((0.7866, -0.2108, -0.0555), (-0.4869, 1.2483, 0.2681), (-0.1176, 0.2069, 0.7501))
PROFILE = [(2e-3, 1e-5)]
SHADING = (VignetteRadial(stage=2, k=(0.8, 0.3, 0.0, 0.0, 0.0), center=(0.5, 0.5)),)

BLACK_ERROR = 0.015

SCALING = {
    "linearize": {"black_offset": BLACK_ERROR},
    "lens_shading": {"k1": 0.3},
    "white_balance": {"mode": "as_shot", "red_trim": 1.4},
    "color_matrix": {"red_from_green": 0.1},
    "exposure": {"ev": 1.3},
}


def wall(domain: Domain, cfa: str, light: float, seed: int) -> Frame:
    """A flat gray wall with the noise that its facts promise; `seed` 0 has none. RAW has a wrong black level."""
    raw = domain is Domain.RAW
    levels = {"black_level": 256.0, "white_level": 4095.0} if raw else {}
    facts = {"neutral": NEUTRAL[0].tolist(), "noise_profile": PROFILE, "color_matrices": [CAMERA], "opcodes": SHADING}
    meta = CameraMeta.make(cfa, SIZE, **facts, **levels)
    if domain.channels == 3:
        clean = (light * NEUTRAL)[:, :, None, None].expand(1, 3, *SIZE)
    else:
        clean = spread_channels(light * NEUTRAL, cfa, SIZE)
    data = clean
    if seed:
        generator = torch.Generator().manual_seed(seed)
        planes = [add_noise(p, meta.noise_profile, cfa, generator) for p in clean.split(1, 1)]
        data = torch.cat(planes, 1)
    return Frame((data + BLACK_ERROR) * (4095 - 256) + 256 if raw else data, domain, meta)


@pytest.mark.parametrize("name", SCALING)
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("light", [0.05, 0.6])
def test_variance_follows_the_facts(name, cfa, light):
    stage = STAGES[name]()
    clean, noisy = (stage(wall(stage.reads, cfa, light, seed), SCALING[name]) for seed in (0, 3))
    residual = (noisy.data - clean.data).square()
    facts = clean.meta
    expected = variance(
        clean.data, facts.noise_profile, cfa=facts.cfa if stage.writes.channels == 1 else "", noise_map=facts.noise_map
    )
    # 3 colors or 4 sites, and rings of the shading: each must fit on its own
    mosaic = residual.shape[1] == 1
    for site in range(4 if mosaic else 3):
        where = (0, 0, slice(site // 2, None, 2), slice(site % 2, None, 2)) if mosaic else (0, site)
        parts = residual[where], expected[where]
        for rows in (slice(0, 40), slice(70, 120)):
            measured, promised = (float(p[rows].mean()) for p in parts)
            assert measured == pytest.approx(promised, rel=0.06)
