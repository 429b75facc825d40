"""The page of `ispkit compare`: one HTML file with the pictures inside, for any browser, without a network."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ispkit.io.atomic import write_bytes
from ispkit.report.compare import Picture, better_of, check_sizes, codes, format_value

_PLACEHOLDER = re.compile(r"@@([A-Z]+)@@")


def write_page(
    path: str | Path,
    pictures: Mapping[str, Picture],
    result: Mapping[str, Any],
    *,
    names: Mapping[str, str] | None = None,
    title: str = "ispkit compare",
) -> None:
    """Write the page with wipe, flip, side by side, difference and the table of `result`.

    `pictures` maps "A", "B" and perhaps "R" to (H, W, 3) in [0, 1], `names` to what the page calls them,
    `result` is what `compare_pictures` gave. Pictures are shown with 8 bits. A link's `#` part opens a view:
    `#mode=flip&show=1&zoom=4&x=120&y=80` (also `pair`, `split`, `gain`, `signed`).
    """
    check_sizes(pictures)
    names = {label: (names or {}).get(label, "") for label in pictures}
    parts = {
        "TITLE": escape(title),
        "STYLE": _template("compare.css"),
        "SCRIPT": _template("compare.js"),
        "TABLE": _side_panel(result, names),
        "PICTURES": "\n".join(_image(label, names[label], picture) for label, picture in pictures.items()),
    }
    # one pass, so that nothing in a name can be taken for a placeholder
    page = _PLACEHOLDER.sub(lambda match: parts[match[1]], _template("compare.html"))
    write_bytes(path, page.encode())


def _template(name: str) -> str:
    return files("ispkit.report").joinpath(name).read_text(encoding="utf-8").strip()


def _image(label: str, name: str, picture: Picture) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(codes(picture)).save(buffer, "PNG", compress_level=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    label, name = escape(label), escape(name)
    return f'<img alt="{label} {name}" data-label="{label}" data-name="{name}" src="data:image/png;base64,{data}">'


def _side_panel(result: Mapping[str, Any], names: Mapping[str, str]) -> str:
    who = "".join(f"<tr><td>{escape(k)}</td><td class=name>{escape(v)}</td></tr>" for k, v in names.items())
    columns = [k for k in names if any(k in row["values"] for row in result["metrics"])]
    base = escape(result["against"])
    heads = "".join(f"<th class=number>{escape(k)}</th>" for k in columns)
    rows = "".join(_metric_row(row, columns) for row in result["metrics"])
    gaps = "".join(_gap_row(k, base, gap) for k, gap in result["difference_8bit"].items())
    return (
        f"<h2>Pictures</h2><table>{who}</table><p>{result['width']} × {result['height']} pixels, shown with 8 bits</p>"
        f"<h2>Metrics against {base}</h2><table><tr><th>metric</th>{heads}</tr>{rows}</table>"
        f"<p>↑ higher is better, ↓ lower is better, ▸ the better of two. "
        f"S-CIELAB at {result['samples_per_degree']:g} pixels per degree.</p>"
        f"<h2>Difference in 8-bit codes</h2><table>{gaps}</table>"
    )


def _metric_row(row: Mapping[str, Any], columns: list[str]) -> str:
    better = better_of(row)
    arrow = "↑" if row["higher_is_better"] else "↓"
    unit = f" {escape(row['unit'])}" if row["unit"] else ""
    note = escape(row.get("skipped", f"{row['doc']}, {row['range'].replace('inf', '∞')}{unit}"))
    cells = "".join(
        f'<td class="number{" better" if k == better else ""}">'
        f"{format_value(row['values'][k]) if k in row['values'] else ''}</td>"
        for k in columns
    )
    said = f'<tr class=said><td title="{escape(row["name"])}">{escape(row["title"])} {arrow}</td>{cells}</tr>'
    return f"{said}<tr class=doc><td colspan={len(columns) + 1}>{note}</td></tr>"


def _gap_row(label: str, base: str, gap: Mapping[str, float]) -> str:
    share = f"{100 * gap['share_of_pixels']:.4g} % of the pixels differ"
    return f"<tr><td>{escape(label)} − {base}</td><td>largest {gap['largest']:g}, {share}</td></tr>"
