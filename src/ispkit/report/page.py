"""Pieces of our report pages: one HTML file that holds everything and loads nothing."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.io.atomic import write_bytes


@dataclass(frozen=True)
class Section:
    """A heading and trusted HTML under it, made with the functions of this file."""

    heading: str
    body: str


def write_report(path: str | Path, title: str, lead: str, sections: Sequence[Section], *, extra: str = "") -> None:
    """Write a page of sections, whole or not at all. `title` and `lead` are plain text. Raises `FileError`.

    `extra` names a pair of files of this folder, EXTRA.css and EXTRA.js, for what moves on the page.
    """
    anchors = [f"s{i}" for i in range(len(sections))]
    links = "".join(f'<a href="#{a}">{escape(s.heading)}</a>' for a, s in zip(anchors, sections, strict=True))
    parts = "".join(
        f'<section id="{a}"><h2>{escape(s.heading)}</h2>{s.body}</section>'
        for a, s in zip(anchors, sections, strict=True)
    )
    style = _part("page.css") + (_part(f"{extra}.css") if extra else "")
    script = f"<script>{_part(f'{extra}.js')}</script>" if extra else ""
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style>'
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><nav>{links}</nav>{parts}{script}</html>'
    )
    write_bytes(path, html.encode())


def table(rows: Sequence[dict[str, Any]], *, row_class: Sequence[str] = ()) -> str:
    """Rows of plain values as a table; numbers stand right, with four digits."""
    if not rows:
        return ""
    head = "".join(f"<th{_align(rows[0][key])}>{escape(key)}</th>" for key in rows[0])
    marks = row_class or [""] * len(rows)
    body = "".join(
        f'<tr class="{mark}">' + "".join(f"<td{_align(v)}>{escape(cell(v))}</td>" for v in row.values()) + "</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any) -> str:
    """A value as text: floats with four significant digits, what is missing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def warnings(lines: Iterable[str]) -> str:
    """A list of warnings; empty text if there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="warnings">{items}</ul>' if items else ""


def image(codes: NDArray[np.uint8], caption: str, *, width: int | None = None, pixelated: bool = False) -> str:
    """A figure of 8-bit pixels (H, W) or (H, W, 3), `width` CSS pixels wide."""
    size = f' width="{width}"' if width else ""
    kind = ' class="pixels"' if pixelated else ""
    text = escape(caption)
    return f'<figure><img alt="{text}"{kind}{size} src="{data_url(codes)}"><figcaption>{text}</figcaption></figure>'


def data_url(codes: NDArray[np.uint8]) -> str:
    """8-bit pixels (H, W) or (H, W, 3) as a PNG inside a URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def row(*parts: str) -> str:
    """Parts side by side, wrapping where the page is narrow."""
    return f'<div class="row">{"".join(parts)}</div>'


def _align(value: Any) -> str:
    return ' class="number"' if isinstance(value, int | float) or value is None else ""


def _part(name: str) -> str:
    return files("ispkit.report").joinpath(name).read_text(encoding="utf-8")
