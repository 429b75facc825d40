"""Proof pictures: the four phases side by side, clipping, histograms; for a dump a sheet of its candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ispkit.core.cfa import CFA_PATTERNS
from ispkit.doctor.dump_search import Candidate, DumpSearch
from ispkit.doctor.encodings import Bytes
from ispkit.doctor.levels import Levels
from ispkit.doctor.phase import PhaseEvidence
from ispkit.doctor.sites import Mosaic, Pixels, block_means

Picture = NDArray[np.uint8]
_TILE = 360
_TEXT = 22
_INK = (235, 235, 235)
_BACK = (24, 24, 24)
_SITE_INKS = ((255, 190, 90), (120, 230, 120), (90, 200, 220), (210, 130, 255))
_COLOR_INKS = {"R": (255, 90, 90), "G": (110, 220, 110), "B": (110, 140, 255)}


def proof_picture(mosaic: Mosaic, phase: PhaseEvidence, levels: Levels) -> Picture:
    """Six labeled tiles (H, W, 3) uint8: the four phases, clipping, histograms of the sites."""
    planes = mosaic.planes()
    block = max(1, planes.shape[2] // _TILE)
    small = block_means(planes, block).astype(np.float32)
    black = np.array(mosaic.black if mosaic.black is not None else [min(levels.dark)] * 4, np.float32)
    order = list(phase.probabilities)
    tiles = [_labeled(_colors(small - black[:, None, None], p), _phase_words(p, phase, mosaic.cfa)) for p in order]
    tiles.append(_labeled(_clipping(planes, small, levels, block), "red: clipped   blue: at the dark end"))
    inks = tuple(_COLOR_INKS[c] for c in phase.best) if phase.determinable else _SITE_INKS
    tiles.append(_histogram(mosaic, inks, tiles[0].shape[:2]))
    return _sheet(tiles, 2 if tiles[0].shape[1] > 1.6 * tiles[0].shape[0] else 3)


def contact_sheet(data: Bytes, search: DumpSearch, phase: PhaseEvidence | None) -> Picture:
    """The first candidates of a dump as small pictures with their numbers."""
    cfa = phase.best if phase is not None and phase.determinable else CFA_PATTERNS[0]
    tiles = []
    for rank, candidate in enumerate(search.candidates[:9], 1):
        tiles.append(_labeled(_thumbnail(data, candidate, cfa), _candidate_words(rank, candidate)))
    if not tiles:
        tiles = [_labeled(np.zeros((_TILE // 2, _TILE, 3), np.uint8), "no candidate")]
    return _sheet([_boxed(t, _TILE, _TILE) for t in tiles], 3)


def _colors(planes: Pixels, cfa: str) -> Picture:
    """Half-size colors with gray-world balance and a plain power law; enough to judge by eye."""
    rgb = np.stack([planes[[i for i, c in enumerate(cfa) if c == color]].mean(axis=0) for color in "RGB"], axis=-1)
    rgb = np.maximum(rgb, 0.0)
    mean = np.minimum(rgb, np.quantile(rgb, 0.97, axis=(0, 1))).mean(axis=(0, 1))
    rgb = rgb / np.maximum(mean, 1e-6) * 0.22
    picture: Picture = (np.clip(rgb, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    return picture


def _clipping(planes: Pixels, small: Pixels, levels: Levels, block: int) -> Picture:
    gray = _colors(np.broadcast_to(small.mean(axis=0) - min(levels.dark), small.shape), "RGGB")
    tops = np.array([np.inf if s is None else s * 0.999 for s in levels.saturation], np.float32)
    over = np.any(planes >= tops[:, None, None], axis=0, keepdims=True).astype(np.float32)
    clipped = block_means(over, block)[0] > 0
    bottoms = np.array(levels.dark, np.float32)
    under = np.all(planes <= bottoms[:, None, None], axis=0, keepdims=True).astype(np.float32)
    dark = block_means(under, block)[0] > 0.25
    gray[dark] = (40, 80, 255)
    gray[clipped] = (255, 30, 30)
    return gray


def _histogram(mosaic: Mosaic, inks: Sequence[tuple[int, int, int]], size: tuple[int, ...]) -> Picture:
    height, width = size
    values = mosaic.site_values()
    low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1)
    image = Image.new("RGB", (width, height), _BACK)
    draw = ImageDraw.Draw(image)
    bins = min(width - 20, max(int(high - low) + 1, 16))
    counts = [np.histogram(v, bins=bins, range=(low, high))[0] for v in values]
    top = np.log1p(max(int(c.max()) for c in counts))
    for count, ink in zip(counts, inks, strict=True):
        x = 10 + np.arange(bins) * (width - 20) / bins
        y = height - 10 - np.log1p(count) / max(top, 1e-9) * (height - _TEXT - 20)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=ink, width=1)
    draw.text((8, 3), f"sites, log count, {low:g} to {high:g} DN", fill=_INK, font=ImageFont.load_default(13))
    return np.asarray(image)


def _thumbnail(data: Bytes, candidate: Candidate, cfa: str) -> Picture:
    place = candidate.layout
    step = max(1, max(place.height, place.width) // 2 // _TILE)
    rows = [candidate.samples(data, slice(y, place.height // 2 * 2, 2 * step)) for y in (0, 1)]
    count = min(len(r) for r in rows)
    planes = np.stack([r[:count, x : place.width // 2 * 2 : 2 * step] for r in rows for x in (0, 1)])
    black = np.quantile(planes[:, ::2, ::2], 0.001)
    return _colors((planes - black).astype(np.float32), cfa)


def _candidate_words(rank: int, candidate: Candidate) -> str:
    place = candidate.layout
    extra = f" +{place.offset}" if place.offset else ""
    return (
        f"{rank}. {place.width}x{place.height} {candidate.encoding.name} {candidate.depth.bits} bit{extra} "
        f"stride {place.stride}: {candidate.probability:.1%}"
    )


def _phase_words(pattern: str, phase: PhaseEvidence, stated: str | None) -> str:
    share = f"{phase.probabilities[pattern]:.0%}" if phase.determinable else "undeterminable"  # type: ignore[index]
    return f"{pattern}: {share}" + (" (stated)" if pattern == stated else "")


def _labeled(picture: Picture, words: str) -> Picture:
    height, width = picture.shape[:2]
    image = Image.new("RGB", (max(width, _TILE), height + _TEXT), _BACK)
    image.paste(Image.fromarray(picture), (0, _TEXT))
    ImageDraw.Draw(image).text((6, 3), words, fill=_INK, font=ImageFont.load_default(13))
    return np.asarray(image)


def _boxed(picture: Picture, height: int, width: int) -> Picture:
    image = Image.fromarray(picture)
    image.thumbnail((width + 60, height))
    box = Image.new("RGB", (width + 60, height), _BACK)
    box.paste(image, (0, 0))
    return np.asarray(box)


def _sheet(tiles: Sequence[Picture], columns: int) -> Picture:
    height, width = max(t.shape[0] for t in tiles), max(t.shape[1] for t in tiles)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + 6), columns * (width + 6), 3), 60, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = k // columns * (height + 6), k % columns * (width + 6)
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet
