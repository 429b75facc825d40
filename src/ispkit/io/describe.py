"""What a file says of itself, as plain data for a table or JSON."""

from __future__ import annotations

from typing import Any

from ispkit.core.frame import Domain, Frame

OWN = "ispkit:"
"""prefix of the facts in `meta.exif` that the reader adds, such as the container and how the file entered"""


def describe(frame: Frame, name: str) -> dict[str, Any]:
    """The facts of one frame as loaded; None where the file does not tell."""
    meta = frame.meta
    exif = dict(meta.exif[0])
    own = {key.removeprefix(OWN): exif.pop(key) for key in list(exif) if key.startswith(OWN)}
    known = bool(meta.forward_matrices.any())
    return {
        "file": name,
        **own,
        "enters_at": frame.domain.value,
        "width": frame.size[1],
        "height": frame.size[0],
        "cfa": meta.cfa if frame.domain is Domain.RAW else None,
        "black_level": meta.black_level[0].tolist(),
        "white_level": meta.white_level[0].tolist(),
        "neutral": _rounded(meta.neutral[0].tolist()),
        "illuminant_cct_k": meta.illuminant_cct_k[0].tolist(),
        "color_matrices": _rounded(meta.color_matrices[0].tolist()),
        "forward_matrices": _rounded(meta.forward_matrices[0].tolist()) if known else None,
        "noise_profile": meta.noise_profile[0].tolist() if bool(meta.noise_profile.any()) else None,
        "baseline_exposure_ev": float(meta.baseline_exposure),
        "iso": float(meta.iso) or None,
        "exposure_time_s": float(meta.exposure_time_s) or None,
        "orientation": meta.orientation[0],
        "opcodes": [f"OpcodeList{op.stage}: {type(op).__name__}" for op in meta.opcodes[0]],
        "exif": exif,
    }


def _rounded(numbers: Any) -> Any:
    """Nested lists with six digits: the facts are float32."""
    return [_rounded(n) for n in numbers] if isinstance(numbers, list) else round(numbers, 6)
