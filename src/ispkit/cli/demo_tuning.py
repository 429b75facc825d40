"""The second half of `ispkit demo`: a dozen knobs of c71 tuned on simulated low light, proven on other pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

TURNED = (
    "demosaic.np_offset",
    "demosaic.uu_thresh",
    "demosaic.uu_slope",
    "demosaic.vh_thresh",
    "demosaic.va_thresh",
    "demosaic.sharp_alt_ld",
    "demosaic.fc_slope",
    "denoise.*",
)
"""how edges, noise and false colors are treated; white balance, colors and tone keep the engineer's values"""
JOB: dict[str, Any] = {
    "version": 1,
    "isp": "c71",
    "data": {
        "project": 12,
        "size": [128, 128],
        "gains": [16],
        "sensor": "sidd-google-pixel",
        "blur_px": 0.45,
    },
    "held_out": 0.5,
    "objective": "psnr; nlpd; delta_e00",
    "method": "auto",
    "budget": 80,
    "lock": ["*"],
    "unlock": list(TURNED),
    "guard": 0.03,
}
"""the same as `ispkit tune --spec` reads it"""


def tune_demo(out: Path, console: Console) -> None:
    """Tune, and print default against tuned on held-out pictures; goes on where an earlier run was stopped."""
    from ispkit.cli.jobs import make_folder
    from ispkit.cli.tune import finish
    from ispkit.tune.job import run_job
    from ispkit.tune.spec import from_dict

    spec = from_dict(JOB)
    console.print("\nTuning 12 knobs of c71, a stand-in for a hardware ISP, on simulated RAWs of ISO 1600 ...")
    make_folder(out)
    result, problem = run_job(spec, out, probe=False)
    finish(out, result, problem.isp, console=console, as_json=False)
