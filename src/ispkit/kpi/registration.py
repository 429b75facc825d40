"""Lay a reference over a picture, sub-pixel; the reference is resampled, never the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import ParamError
from ispkit.kpi.signal import Array

Motion = Literal["none", "translation", "affine", "homography"]
_ECC = {"translation": cv2.MOTION_TRANSLATION, "affine": cv2.MOTION_AFFINE, "homography": cv2.MOTION_HOMOGRAPHY}
_TILES = 4
_PAD = 32


@dataclass(frozen=True, eq=False)
class Registration:
    """How picture and reference lie."""

    matrix: Array
    """(3, 3) homography, (x, y, 1) of a picture pixel -> of a reference pixel; pixel centers are whole numbers"""
    reference: Array
    """(H, W) the reference on the picture's grid, in the reference's units"""
    correlation: float
    """of picture and resampled reference, 1 is best"""
    residual_px: float
    """largest shift left in 4 x 4 tiles, px; NaN for pictures below 128 px"""
    warnings: tuple[str, ...] = ()


def register(
    picture: Array, reference: Array, *, motion: Motion = "affine", start: NDArray[Any] | None = None
) -> Registration:
    """Find where the picture lies in the reference, and lay the reference on its grid.

    `picture` (H, W) and `reference` (H', W') are luminance in any units; `start` is a first (3, 3) guess of
    `matrix`, the identity if None, good to some pixels. The matrix is refined by the enhanced correlation
    coefficient (Evangelidis, Psarakis 2008), from a quarter of the size up; `motion="none"` keeps `start`.
    Raises `ParamError` for an unknown motion. A search that fails keeps the start and warns.
    """
    if motion != "none" and motion not in _ECC:
        raise ParamError(f"no motion {motion!r} for registration; take 'none', 'translation', 'affine' or 'homography'")
    matrix = np.eye(3) if start is None else np.asarray(start, np.float64)
    warnings: list[str] = []
    if motion != "none":
        matrix, failed = _refine(picture, reference, matrix, motion)
        if failed:
            warnings.append("registration failed: the picture does not look like the reference; check the region")
    laid = resample(reference, matrix, picture.shape)
    correlation = float(np.corrcoef(picture.ravel(), laid.ravel())[0, 1]) if laid.std() > 0 else 0.0
    residual = _residual(picture, laid)
    if residual > 0.3:
        warnings.append(
            f"registration leaves shifts up to {residual:.2f} px: the cross method reads too low; "
            "use motion='homography', a smaller region, or correct the lens distortion"
        )
    return Registration(matrix, laid, correlation, residual, tuple(warnings))


def resample(reference: Array, matrix: Array, size: tuple[int, ...]) -> Array:
    """The reference on another grid of `size`, (H, W), band-limited to it.

    `matrix` is as in `Registration`. Frequencies above the Nyquist limit of the coarser grid are cut in the Fourier
    domain, then Lanczos reads from a grid at least twice as fine as the picture's: a wave of 0.25 cy/px is true to
    0.5 %, one of 0.43 to 2 %. Where the grid leaves the reference, its border is reflected.
    """
    height, width = size[0], size[1]
    if matrix.shape == (3, 3) and np.array_equal(matrix, np.eye(3)) and reference.shape == (height, width):
        return reference
    limit = min(_scale(matrix, (height, width)), 1.0)
    fine = 1 if limit <= 0.5 else 2
    finer = _band_limited(reference, limit, fine)
    to_finer = np.array([[fine, 0, _PAD * fine], [0, fine, _PAD * fine], [0, 0, 1]], np.float64)
    laid: Array = cv2.warpPerspective(
        finer,
        to_finer @ matrix,
        (width, height),
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    ).astype(np.float64)
    return laid


def _scale(matrix: Array, size: tuple[int, int]) -> float:
    """Picture pixels per reference pixel in the middle of the picture."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    points = np.array([[x, x + 1, x], [y, y, y + 1], [1, 1, 1]], np.float64)
    mapped = matrix @ points
    mapped = mapped[:2] / mapped[2]
    area = abs(float(np.linalg.det(mapped[:, 1:] - mapped[:, :1])))
    return float(1 / np.sqrt(max(area, 1e-12)))


def _band_limited(reference: Array, limit: float, fine: int) -> Array:
    """The reference `fine` times finer, reflected at its border, cut at `limit` x Nyquist."""
    padded = np.pad(reference, _PAD, mode="reflect")
    padded = np.pad(padded, [(0, n % 2) for n in padded.shape], mode="edge")
    if limit == fine == 1:
        return padded
    spectrum = np.fft.fftshift(np.fft.fft2(padded))
    rows, columns = (np.abs(np.fft.fftshift(np.fft.fftfreq(n))) <= 0.5 * limit for n in padded.shape)
    room = [((fine - 1) * n // 2,) * 2 for n in padded.shape]
    finer: Array = np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum * np.outer(rows, columns), room))).real * fine**2
    return finer


def _refine(picture: Array, reference: Array, matrix: Array, motion: Motion) -> tuple[Array, bool]:
    """ECC from coarse to fine; returns the best matrix so far and whether a level failed."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-6)
    for level in (4, 2, 1):
        if min(*picture.shape, *reference.shape) // level < 24:
            continue
        shrink = np.array([[1 / level, 0, 0.5 / level - 0.5], [0, 1 / level, 0.5 / level - 0.5], [0, 0, 1]])
        at_level = shrink @ matrix @ np.linalg.inv(shrink)
        warp = (at_level / at_level[2, 2])[: 3 if motion == "homography" else 2].astype(np.float32)
        try:
            _, warp = cv2.findTransformECC(
                _shrunk(picture, level), _shrunk(reference, level), warp, _ECC[motion], criteria, None, 5
            )
        except cv2.error:
            return matrix, True
        full = np.eye(3)
        full[: len(warp)] = warp
        matrix = np.linalg.inv(shrink) @ full @ shrink
    return matrix, False


def _shrunk(plane: Array, level: int) -> NDArray[np.float32]:
    """Mean over level x level pixels, as float32 between 0 and 1."""
    height, width = (n // level * level for n in plane.shape)
    small = plane[:height, :width].reshape(height // level, level, width // level, level).mean((1, 3))
    low, high = small.min(), small.max()
    shown: NDArray[np.float32] = ((small - low) / max(high - low, 1e-12)).astype(np.float32)
    return shown


def _residual(picture: Array, laid: Array) -> float:
    """The largest shift between picture and reference over tiles, by phase correlation."""
    height, width = (_even_in_frequency(n // _TILES) for n in picture.shape)
    if min(height, width) < 32:
        return float("nan")
    window = cv2.createHanningWindow((width, height), cv2.CV_64F)
    shifts = []
    for i in range(_TILES):
        for j in range(_TILES):
            tile = np.s_[i * height : (i + 1) * height, j * width : (j + 1) * width]
            a, b = (cv2.GaussianBlur(p[tile], (0, 0), 2.0) for p in (laid, picture))
            (dx, dy), response = cv2.phaseCorrelate(np.ascontiguousarray(a), np.ascontiguousarray(b), window)
            if response > 0.3:
                shifts.append(float(np.hypot(dx, dy)))
    return max(shifts) if shifts else float("nan")


def _even_in_frequency(side: int) -> int:
    """The largest side up to this one whose transform has an even length: OpenCV is half a pixel off at odd ones."""
    return next((n for n in range(side, 0, -1) if cv2.getOptimalDFTSize(n) % 2 == 0), 0)
