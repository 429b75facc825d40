"""The inventory of a folder of calibration shots: what each is, what speaks against it.

Names follow rpi-ctt (`alsc_3000k_1.dng`, `dark_1.dng`, anything else with `<cct>k_<lux>l` is a chart) and plain
words (`flat_`, `chart_`, `macbeth_`, `colorchecker_`, `psf_`), also as folders. A `shots.yaml` beside them wins:

```yaml
shots:
  IMG_0001.dng: {kind: flat, cct_k: 5000, iso: 100}
  IMG_0002.dng: {kind: skip}
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ispkit.calibrate.look import Look, look_at
from ispkit.charts.lights import patch_colors
from ispkit.core.cfa import CfaPattern
from ispkit.core.errors import FileError, IspkitError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.profile import Rgb, Sites
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.io.load import load
from ispkit.io.sidecar import find_sidecar

Kind = Literal["dark", "flat", "chart", "psf"]
KINDS: tuple[Kind, ...] = ("dark", "flat", "chart", "psf")
OVERRIDES = "shots.yaml"
Progress = Callable[[str, int, int], None]
"""what is being done, steps done, steps in all"""

_WORDS: dict[Kind, str] = {
    "psf": r"psf|noisechart",
    "dark": r"dark|black|bias",
    "flat": r"flat|alsc|lsc|shading",
    "chart": r"chart|macbeth|colou?rchecker|checker",
}
# what people name files after -> name of the light in `charts.lights`; F2 is cool white fluorescent, F12 is TL83
LIGHTS = {"a": "A", "d50": "D50", "d55": "D55", "d65": "D65", "d75": "D75", "tl84": "TL84", "f11": "F11", "f2": "F2",
          "cwf": "F2", "f12": "F12", "tl83": "F12", "u30": "F12"}  # fmt: skip
_OVERRIDE_KEYS = ("kind", "iso", "exposure_time_s", "cct_k", "lux", "light")
_DARK_SHARE, _DARK_NAMED = 0.02, 0.25
_FLAT_RESIDUE, _FLAT_NAMED = 0.015, 0.06
_CLIPPED = {"flat": 0.01, "chart": 0.05}
_FEW_CLIPPED = 0.001
_DIM = {"flat": 0.005, "chart": 0.05}


@dataclass(frozen=True)
class Shot:
    """One file of the folder, as it will be used."""

    path: Path
    name: str
    """relative to the folder"""
    kind: Kind
    camera: str
    """make and model, "" if the file does not say"""
    cfa: CfaPattern
    size: tuple[int, int]
    black: Sites
    """the file's tag, DN per site"""
    white: float
    iso: float
    """0 if unknown"""
    exposure_time_s: float
    cct_k: float
    """of the light; 0 if unknown"""
    lux: float
    light: str
    """"D65", "A", ... or "" """
    neutral: Rgb
    look: Look
    """what the pixels show"""

    def frame(self) -> Frame:
        """The pixels, read again."""
        return load(self.path)

    @property
    def setting(self) -> tuple[float, float, float, str]:
        """Equal for shots of one series: ISO, exposure, temperature and name of the light."""
        return self.iso, round(self.exposure_time_s, 7), self.cct_k, self.light


@dataclass(frozen=True)
class Inventory:
    """The usable shots of one camera in one folder, and remarks on the others."""

    folder: Path
    shots: tuple[Shot, ...]
    notes: tuple[str, ...]

    def of(self, kind: Kind) -> tuple[Shot, ...]:
        """The shots of that kind, by name."""
        return tuple(s for s in self.shots if s.kind == kind)

    def series(self, kind: Kind) -> list[tuple[Shot, ...]]:
        """Shots of that kind taken with the same settings under the same light, by ISO and exposure."""
        groups: dict[tuple[float, float, float, str], list[Shot]] = {}
        for shot in self.of(kind):
            groups.setdefault(shot.setting, []).append(shot)
        return [tuple(groups[key]) for key in sorted(groups)]


def take_inventory(folder: str | Path, progress: Progress | None = None) -> Inventory:
    """Look at every RAW file of a folder and its subfolders. Raises `FileError` in one sentence.

    Refused: two cameras in one folder, a flat or chart that is clipped or too dark, a "dark" frame that saw light.
    Left out with a note: files that LibRaw cannot open as a mosaic, and pictures whose kind cannot be told.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileError(f"{root}: not a folder; give the folder that holds the calibration shots")
    overrides = _overrides(root)
    files = raw_files(root)
    missing = sorted(set(overrides) - {_name(root, f) for f in files})
    if missing:
        raise FileError(f"{root / OVERRIDES}: shots.{missing[0]}: there is no such RAW file in the folder")
    if not files:
        raise FileError(f"{root}: a folder without RAW files; put DNG shots named dark_*, flat_*, chart_* into it")
    shots: list[Shot] = []
    notes: list[str] = []
    for i, path in enumerate(files):
        if progress is not None:
            progress("looking at the shots", i, len(files))
        stated = overrides.get(_name(root, path), {})
        if stated.get("kind") == "skip":
            continue
        found = _shot(root, path, stated)
        if isinstance(found, str):
            notes.append(found)
            continue
        if shots:
            _same_camera(shots[0], found)
        notes += _remarks(found)
        shots.append(found)
    if not shots:
        raise FileError(
            f"{root}: none of its {len(files)} RAW files can be used; {notes[0] if notes else 'all skipped'}"
        )
    return Inventory(root, tuple(shots), tuple(notes))


def raw_files(root: Path) -> list[Path]:
    """RAW files of a folder and its subfolders, and dumps that have a sidecar, by name."""
    found = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in found if RAW_SUFFIXES.fullmatch(p.suffix) or (p.suffix != ".yaml" and find_sidecar(p)))


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _shot(root: Path, path: Path, stated: Mapping[str, Any]) -> Shot | str:
    """The shot, or why the file is left out."""
    name = _name(root, path)
    try:
        frame = load(path)
    except IspkitError as error:
        return f"{name} is left out: {error}"
    if frame.domain is not Domain.RAW:
        return f"{name} is left out: it holds no Bayer mosaic"
    meta, named = frame.meta, facts_of_name(name)
    seen = look_at(frame)
    kind = stated.get("kind") or named.get("kind") or _kind_of_pixels(seen)
    if kind is None:
        return (
            f"{name} is left out: neither its name nor its pixels tell what it is; name it dark_, flat_, chart_ or psf_"
        )
    exif = meta.exif[0]
    facts: dict[str, Any] = {n: float(f"{float(getattr(meta, n)):.7g}") for n in ("iso", "exposure_time_s")}
    facts |= {"cct_k": 0.0, "lux": 0.0, "light": ""} | {k: v for k, v in named.items() if k != "kind"}
    facts |= {k: v for k, v in stated.items() if k != "kind"}
    camera = " ".join(dict.fromkeys(" ".join(str(exif.get(k, "")) for k in ("Make", "Model")).split()))
    black: Any = tuple(meta.black_level[0].tolist())
    neutral: Any = tuple(meta.neutral[0].tolist())
    white = float(meta.white_level.min())
    return Shot(path, name, kind, camera, meta.cfa, frame.size, black, white, neutral=neutral, look=seen, **facts)


def facts_of_name(name: str) -> dict[str, Any]:
    """What a file name says: kind, cct_k, lux, light, iso; only what is there.

    >>> facts_of_name("alsc_3850k_1.dng")
    {'kind': 'flat', 'cct_k': 3850.0}
    >>> facts_of_name("chart/D65_800l_iso400.dng")
    {'kind': 'chart', 'cct_k': 6504.0, 'light': 'D65', 'lux': 800.0, 'iso': 400.0}
    """
    stem = name.lower().rsplit(".", 1)[0]
    tokens = [t for t in re.split(r"[^a-z0-9]+", stem) if t]
    facts: dict[str, Any] = {}
    kinds = [k for k, words in _WORDS.items() if any(re.match(words, t) for t in (*tokens, "".join(tokens[:2])))]
    if kinds:
        facts["kind"] = kinds[0]
    for key, pattern in (("cct_k", r"(\d{4,5})k"), ("lux", r"(\d+)l(?:ux|x)?"), ("iso", r"iso(\d+)")):
        found = [m[1] for t in tokens if (m := re.fullmatch(pattern, t))]
        if found:
            facts[key] = float(found[-1])
    lights = [t for t in tokens if t in LIGHTS]
    if lights:
        facts["light"] = LIGHTS[lights[0]]
        facts.setdefault("cct_k", float(round(patch_colors(LIGHTS[lights[0]]).cct_k)))
    if "kind" not in facts and "cct_k" in facts:
        facts["kind"] = "chart"
    order = ("kind", "cct_k", "light", "lux", "iso")
    return {key: facts[key] for key in order if key in facts}


def _kind_of_pixels(seen: Look) -> Kind | None:
    if seen.level < _DARK_SHARE and seen.spread < _DARK_SHARE:
        return "dark"
    if seen.roughness < _FLAT_RESIDUE and seen.level > _DARK_SHARE:
        return "flat"
    return None


def _same_camera(first: Shot, other: Shot) -> None:
    """One profile is of one camera."""
    pairs: list[tuple[str, Any, Any]] = [
        ("camera", first.camera, other.camera),
        ("CFA", first.cfa, other.cfa),
        ("size", "{}x{}".format(*first.size), "{}x{}".format(*other.size)),
        ("white level", first.white, other.white),
    ]
    for what, a, b in pairs:
        if a != b and not (what == "camera" and not (a and b)):
            raise FileError(
                f"{first.name} and {other.name} are not of one camera: {what} {a or '(none)'} and {b or '(none)'}; "
                "keep one folder a camera"
            )


def _remarks(shot: Shot) -> Iterator[str]:
    """Notes on a usable shot; raises `FileError` for one that would spoil the profile."""
    seen, name = shot.look, shot.name
    remedy = f"shoot it again, or list it in {OVERRIDES} as 'kind: skip'"
    if shot.kind == "dark" and (seen.level > _DARK_NAMED or seen.spread > 2 * _DARK_SHARE):
        raise FileError(f"{name}: named a dark frame, but light reached it (mean {seen.level:.1%} of the range above "
                        f"black, varying by {seen.spread:.1%}); cap the lens and {remedy}")  # fmt: skip
    if shot.kind == "flat" and seen.roughness > _FLAT_NAMED and seen.level > _DIM["flat"]:
        raise FileError(f"{name}: named a flat field, but it shows structure of {seen.roughness:.1%} of its level; "
                        f"use a diffuser and {remedy}")  # fmt: skip
    if shot.kind in _CLIPPED:
        if seen.clipped > _CLIPPED[shot.kind]:
            raise FileError(f"{name}: {seen.clipped:.1%} of its pixels are clipped at {seen.clip_dn:g} DN; "
                            f"expose less and {remedy}")  # fmt: skip
        if seen.bright < _DIM[shot.kind]:
            raise FileError(f"{name}: too dark, its bright parts reach only {seen.bright:.2%} of the range; "
                            f"expose more and {remedy}")  # fmt: skip
        if seen.clipped > _FEW_CLIPPED:
            yield f"{name}: {seen.clipped:.2%} of its pixels are clipped at {seen.clip_dn:g} DN"


def _overrides(root: Path) -> dict[str, dict[str, Any]]:
    """The content of `shots.yaml`, checked."""
    file = root / OVERRIDES
    if not file.is_file():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("shots"), Mapping):
        raise FileError(f"{file}: it must hold 'shots:' with one line 'FILE: {{kind: flat, cct_k: 5000}}' a file")
    return {str(name): _checked(f"{file}: shots.{name}", facts) for name, facts in content["shots"].items()}


def _checked(where: str, facts: Any) -> dict[str, Any]:
    if not isinstance(facts, Mapping):
        raise FileError(f"{where}: {facts!r} must be a mapping of {', '.join(_OVERRIDE_KEYS)}")
    for key, value in facts.items():
        if key not in _OVERRIDE_KEYS:
            raise FileError(f"{where}: no key {key!r}; {nearest(str(key), _OVERRIDE_KEYS)}")
        if key == "kind" and value not in (*KINDS, "skip"):
            raise FileError(f"{where}.kind={value!r} is not known; {nearest(str(value), (*KINDS, 'skip'))}")
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if key not in ("kind", "light") and not number:
            raise FileError(f"{where}.{key}={value!r} must be a number, 0 or larger")
    return {k: v if k in ("kind", "light") else float(v) for k, v in facts.items()}
