"""The data of a tuning job: which pictures, seen by which sensor, as words of its YAML file and as scenes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ispkit.charts import catalog as charts
from ispkit.core.errors import ParamError, RecipeError
from ispkit.core.frame import Domain
from ispkit.data import tuning_sets
from ispkit.data.labelled import KITTI_AS_COCO, read_kitti, read_yolo
from ispkit.data.project_pictures import project_pictures
from ispkit.data.scenes import Scene
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.isp.recipe import preset
from ispkit.perceive.coco import COCO
from ispkit.sensor.catalog import load_sensor
from ispkit.tune.spec_fields import Reader, check_known, folder, mapping, number, numbers, size, text, texts, whole

_SOURCES = ("pictures", "raws", "project", "charts", "yolo", "kitti")
_FOLDERS = ("pictures", "raws", "targets", "yolo", "kitti")


@dataclass(frozen=True)
class DataSpec:
    """Where scenes come from: exactly one of `pictures`, `raws`, `project`, `charts`, `yolo`, `kitti`."""

    pictures: str | None = None
    """a folder of finished pictures, to be simulated"""
    raws: str | None = None
    """a folder of RAW files"""
    targets: str | None = None
    """a folder of the RAW files' targets, if they are not beside them"""
    project: int | None = None
    """so many pictures that the toolkit makes itself"""
    charts: tuple[str, ...] = ()
    """names of charts, each simulated at its own size or that of `size`"""
    yolo: str | None = None
    """a folder of pictures with boxes, as `data.labelled.read_yolo` reads it, for a detector of COCO's classes"""
    kitti: str | None = None
    """the same as `read_kitti` reads it"""
    first: int | None = None
    """only so many of a folder's pictures, in the order of their names"""
    sensor: str = "default"
    """that simulates, by name or YAML file"""
    blur_px: float | None = None
    """of lens and pixel, in place of the sensor's own; most calibrated sensors state none, 0.45 is ordinary"""
    gains: tuple[float, ...] = (1.0,)
    """ISO / 100"""
    cct_k: tuple[float, ...] = (6504.0,)
    crop: tuple[int, int] | None = None
    """height, width of the window of each picture; for RAW files the middle"""
    size: tuple[int, int] | None = None
    """height, width of the toolkit's own pictures and charts"""
    seed: int = 0
    """of windows, noise and the toolkit's pictures"""

    def __post_init__(self) -> None:
        given = [s for s in _SOURCES if getattr(self, s) not in (None, ())]
        if len(given) != 1:
            raise RecipeError(f"data: give exactly one of {', '.join(_SOURCES)}, got {', '.join(given) or 'none'}")
        if self.targets is not None and self.raws is None:
            raise RecipeError("data.targets belongs to data.raws; pictures and charts are their own targets")


def read_data(where: str, value: Any, base: Path | None) -> DataSpec:
    """A mapping; the bare word `project`, or a folder of pictures or RAW files."""
    if value == "project":
        return DataSpec(project=8)
    if isinstance(value, str):
        path = folder(where, value, base)
        kind = "raws" if any(RAW_SUFFIXES.fullmatch(p.suffix) for p in Path(path).iterdir()) else "pictures"
        return DataSpec(**{kind: path})  # type: ignore[arg-type]
    content = mapping(where, value)
    check_known(where, content, DataSpec)
    read: dict[str, Reader] = {
        **_DATA,
        **{name: partial(folder, base=base) for name in _FOLDERS},
    }
    return DataSpec(**{k: read[k](f"{where}.{k}", v) for k, v in content.items() if v is not None})


def scenes_from(data: DataSpec, reads: Domain) -> list[Scene]:
    """RAW for a RAW reader; a program that reads finished pictures gets those of the preset `neutral`."""
    scenes = _scenes(data)
    if reads is Domain.RAW:
        return scenes
    if reads is not Domain.DISPLAY_RGB:
        raise ParamError(f"isp: it reads {reads.value}; tuning data is RAW or, by the preset neutral, display_rgb")
    neutral = preset("neutral")
    return [replace(s, frame=neutral(s.frame)) for s in scenes]


def _scenes(data: DataSpec) -> list[Scene]:
    if data.raws is not None:
        return tuning_sets.from_folder(data.raws, data.targets, crop=data.crop)
    sensor = load_sensor(data.sensor)
    if data.blur_px is not None:
        sensor = replace(sensor, blur_px=data.blur_px)
    shooting = tuning_sets.Shooting(data.gains, data.cct_k, data.crop, data.seed)
    if data.charts:
        sides = {} if data.size is None else {"height": data.size[0], "width": data.size[1]}
        return tuning_sets.chart_scenes({n: charts.build(n, **sides) for n in data.charts}, sensor, shooting)
    if data.pictures is not None:
        pictures = tuning_sets.read_pictures(data.pictures)
        chosen = dict(list(pictures.items())[: data.first])
        return tuning_sets.from_pictures(chosen, sensor, shooting)
    if data.yolo is not None or data.kitti is not None:
        found = (read_yolo(data.yolo) if data.yolo is not None else read_kitti(str(data.kitti)))[: data.first]
        boxes = {f.path.stem: f.boxes.renamed(f.names, COCO, KITTI_AS_COCO) for f in found}
        return tuning_sets.from_pictures({f.path.stem: f.picture() for f in found}, sensor, shooting, labels=boxes)
    made = project_pictures(data.project or 1, data.size or (256, 256), seed=data.seed)
    return tuning_sets.from_pictures(made, sensor, shooting)


_DATA: dict[str, Reader] = {
    "project": partial(whole, low=1),
    "charts": texts,
    "first": partial(whole, low=1),
    "sensor": text,
    "blur_px": partial(number, low=0.0, high=10.0),
    "gains": numbers,
    "cct_k": numbers,
    "crop": size,
    "size": size,
    "seed": partial(whole, low=0),
}
