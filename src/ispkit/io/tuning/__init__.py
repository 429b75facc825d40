"""Tuning files of camera stacks, in and out of a `CameraProfile`."""

from ispkit.io.tuning.dng import apply_profile
from ispkit.io.tuning.export import EXPORTS, Export, export
from ispkit.io.tuning.recipe import recipe_values, write_tone_cube
from ispkit.io.tuning.rpi import RpiTuning, parse_tuning, read_tuning
from ispkit.io.tuning.rpi_import import to_profile

__all__ = [
    "EXPORTS",
    "Export",
    "RpiTuning",
    "apply_profile",
    "export",
    "parse_tuning",
    "read_tuning",
    "recipe_values",
    "to_profile",
    "write_tone_cube",
]
