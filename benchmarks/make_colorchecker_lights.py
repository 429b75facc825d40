"""Write src/ispkit/charts/colorchecker_lights.json: the 24 patches under several lights, from their spectra.

Reflectances: "BabelColor Average" (mean of 30 charts); illuminants: CIE 15; observer: CIE 1931 2 degrees;
integration: ASTM E308. All as in colour-science. Run: `python benchmarks/make_colorchecker_lights.py`.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from ispkit.charts.colorchecker import LAB_D50

TABLE = Path(__file__).parents[1] / "src" / "ispkit" / "charts" / "colorchecker_lights.json"
REFLECTANCES = "BabelColor Average"
# our name -> the name in colour-science; TL84 is a lamp near FL11
LIGHTS = {
    "A": "A", "D50": "D50", "D55": "D55", "D65": "D65", "D75": "D75", "E": "E",
    "F2": "FL2", "F7": "FL7", "F11": "FL11", "F12": "FL12", "TL84": "FL11", "LED-B3": "LED-B3",
}  # fmt: skip


def table() -> dict[str, Any]:
    """XYZ (a perfect diffuser has Y = 1), white and CCT of every light, rounded to six digits."""
    import colour

    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    spectra = list(colour.SDS_COLOURCHECKERS[REFLECTANCES].values())[: len(LAB_D50)]
    lights = {}
    for name, standard in LIGHTS.items():
        light = colour.SDS_ILLUMINANTS[standard]
        white = colour.XYZ_to_xy(colour.sd_to_XYZ(light, observer))
        patches = [colour.sd_to_XYZ(sd, observer, light) / 100 for sd in spectra]
        lights[name] = {
            "cct_k": round(float(colour.temperature.uv_to_CCT(colour.UCS_to_uv(colour.XYZ_to_UCS(
                colour.xy_to_XYZ(white))), method="Ohno 2013")[0]), 1),
            "white_xy": [round(float(v), 6) for v in white],
            "xyz": [[round(float(v), 6) for v in patch] for patch in patches],
        }  # fmt: skip
    source = f"colour-science {colour.__version__}: {REFLECTANCES}, CIE illuminants, CIE 1931 2 degrees, ASTM E308"
    return {"source": source, "patches": list(LAB_D50), "lights": lights}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLE)
    out = parser.parse_args().out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.write_text(json.dumps(table(), indent=1) + "\n", encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
