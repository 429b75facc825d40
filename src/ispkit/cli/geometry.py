"""The option that says what a headerless dump holds, shared by the commands that read files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ispkit.io.geometry import Facts

GEOMETRY_HELP = (
    "Facts of a headerless dump or mosaic picture as KEY=VALUE,..., for instance "
    "width=1920,height=1080,bits=10,cfa=RGGB,black_level=64. A sidecar FILE.yaml says the same."
)
GeometryOption = Annotated[str | None, typer.Option("--geometry", "-g", metavar="KEY=VALUE,...", help=GEOMETRY_HELP)]

SidecarOption = Annotated[
    Path | None, typer.Option("--sidecar", help="YAML that says what a dump holds (ours or Infinite-ISP's).")
]


def parse_geometry(text: str | None) -> Facts | None:
    """The facts that the option states; a `Geometry` where width and height are among them.

    Lists are written with colons: `black_level=64:64:65:64`. Raises `ParamError`.
    """
    if text is None:
        return None
    from ispkit.core.errors import ParamError, nearest
    from ispkit.io.geometry import Facts, Geometry, plain_value

    known = [f.name for f in fields(Geometry)]
    stated: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or key not in known:
            raise ParamError(f"--geometry: {part.strip()!r} is not KEY=VALUE with a known key; {nearest(key, known)}")
        if key in stated:
            raise ParamError(f"--geometry: {key} is given twice")
        stated[key] = plain_value(value)
    kind = Geometry if "width" in stated or "height" in stated else Facts
    missing = [k for k in ("width", "height") if kind is Geometry and k not in stated]
    if missing:
        raise ParamError(f"--geometry: {missing[0]} is missing; give width=..., height=...")
    return kind(**stated)
