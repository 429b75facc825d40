"""Metadata that cannot be true, whatever the pixels show."""

from __future__ import annotations

import numpy as np
import torch

from ispkit.core.meta import XYZ_TO_SRGB, CameraMeta
from ispkit.doctor.findings import Finding

_NEUTRAL = (0.08, 1.0)
_CONDITION = 60.0
_CCT_K = (1500.0, 15000.0)


def check_metadata(meta: CameraMeta) -> list[Finding]:
    """Findings on levels, neutral, matrices and illuminants of one frame."""
    complaints = [*_levels(meta), *_neutral(meta), *_matrices(meta), *_others(meta)]
    return complaints or [Finding("metadata", "ok", "levels, white and matrices are possible", "metadata")]


def _problem(what: str, remedy: str) -> Finding:
    return Finding("metadata", "problem", what, "metadata", remedy)


def _levels(meta: CameraMeta) -> list[Finding]:
    black, white = meta.black_level[0], meta.white_level[0]
    if not bool(torch.isfinite(torch.cat([black, white])).all()):
        return [_problem("black or white level is no number", "state both levels in a sidecar")]
    if bool((black >= white).any()):
        what = f"black level {black.max():g} is not below white level {white.min():g}"
        return [_problem(what, "state both levels in a sidecar")]
    if bool((black > 0.3 * white).any()):
        what = f"black level {black.max():g} takes a third of the range up to {white.min():g}"
        return [Finding("metadata", "warning", what, "metadata", "check both levels with a dark frame")]
    return []


def _neutral(meta: CameraMeta) -> list[Finding]:
    neutral = meta.neutral[0]
    text = ", ".join(f"{v:.4g}" for v in neutral.tolist())
    if not bool(torch.isfinite(neutral).all()) or bool((neutral <= 0).any()):
        return [_problem(f"the as-shot neutral ({text}) has a zero or no number", "use an automatic white balance")]
    if float(neutral.min()) < _NEUTRAL[0]:
        what = f"the as-shot neutral ({text}) is extreme"
        return [Finding("metadata", "warning", what, "metadata", "compare with an automatic white balance")]
    if float(neutral[1]) < 0.5:
        what = f"the as-shot neutral ({text}) has green far below the others, which no Bayer camera has"
        return [Finding("metadata", "warning", what, "metadata", "it may hold gains: take the reciprocals")]
    if bool((neutral == 1).all()):
        what = "the file states no white balance (neutral 1, 1, 1)"
        return [Finding("metadata", "warning", what, "metadata", "use an automatic white balance, or give neutral")]
    return []


def _matrices(meta: CameraMeta) -> list[Finding]:
    found = []
    for k, matrix in enumerate(meta.color_matrices[0].double().numpy()):
        name = f"ColorMatrix{k + 1}"
        if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
            found.append(_problem(f"{name} has no inverse", "state color_matrix in a sidecar, or calibrate one"))
        elif np.linalg.cond(matrix) > _CONDITION:
            what = f"{name} amplifies noise (condition {np.linalg.cond(matrix):.0f})"
            found.append(Finding("metadata", "warning", what, "metadata", "check its rows; calibrate one"))
    standard = torch.tensor(XYZ_TO_SRGB)
    if not found and torch.allclose(meta.color_matrices[0, 0], standard, atol=1e-4):
        what = "no color matrix is stated; colors are taken for linear sRGB"
        found.append(Finding("metadata", "warning", what, "metadata", "calibrate a matrix with a ColorChecker"))
    return found[:1] if len(found) == 2 and found[0].what[13:] == found[1].what[13:] else found


def _others(meta: CameraMeta) -> list[Finding]:
    cct = meta.illuminant_cct_k[0]
    found = []
    if bool(((cct < _CCT_K[0]) | (cct > _CCT_K[1])).any()):
        what = f"calibration illuminants of {cct[0]:g} K and {cct[1]:g} K are not daylight or lamp"
        found.append(Finding("metadata", "warning", what, "metadata", "check CalibrationIlluminant1 and 2"))
    profile = meta.noise_profile[0]
    if bool((profile < 0).any()) or bool((profile[:, 0] > 0.1).any()):
        found.append(_problem("the NoiseProfile has negative or enormous entries", "measure it from flat fields"))
    return found
