"""What `regress` can compare: a preset, a recipe, or a Raspberry Pi tuning file, as one thing that develops frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from ispkit.bench.chart_shots import developed
from ispkit.core.errors import FileError
from ispkit.core.frame import Frame
from ispkit.io.tuning import RpiTuning, apply_profile, read_tuning, recipe_values, to_profile, write_tone_cube
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import PRESETS, from_recipe, load_recipe, preset
from ispkit.sensor.simulate import Sensor


@dataclass(frozen=True)
class Tuning:
    """A pipeline, and what a tuning file says of the camera, which goes before what the frame says."""

    name: str
    pipeline: Pipeline
    camera: RpiTuning | None = None

    def develop(self, frame: Frame, *, cct_k: float | None = None) -> Tensor:
        """The encoded picture (3, H, W); a tuning file's colors and shading are those at `cct_k` if it is given."""
        if self.camera is not None:
            shading = self.camera.shading
            strength = shading.strength if shading is not None else 1.0
            known = to_profile(self.camera, cfa=frame.meta.cfa, size=frame.size, luminance_strength=strength)
            frame = apply_profile(frame, known, cct_k=cct_k)
        return developed(frame, self.pipeline)

    def sensor(self, size: tuple[int, int]) -> Sensor | None:
        """A simulated camera as the tuning file describes it; None for recipes, which describe none."""
        return None if self.camera is None else Sensor.from_profile(to_profile(self.camera, size=size))


def load_tuning(name: str | Path) -> Tuning:
    """A preset by name, a recipe by its YAML file, a Raspberry Pi tuning by its JSON file.

    Raises `FileError`, `RecipeError`.
    """
    if str(name) in PRESETS:
        return Tuning(str(name), preset(str(name)))
    path = Path(name)
    if not path.is_file():
        raise FileError(f"{name}: no such file, and no preset of that name (presets: {', '.join(PRESETS)})")
    if path.suffix.lower() != ".json":
        return Tuning(str(name), load_recipe(path))
    camera = read_tuning(path)
    with TemporaryDirectory() as room:  # the stage reads the table when it is built
        cube = Path(room) / "tone.cube" if camera.gamma_curve is not None else None
        if cube is not None:
            write_tone_cube(cube, camera)
        return Tuning(str(name), from_recipe(recipe_values(camera, tone_cube=cube), where=str(path)), camera)
