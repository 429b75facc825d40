"""A user's own parameter file as the start: its values become the knobs' defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ispkit.core.errors import ParamError, RecipeError
from ispkit.core.param import Choice, Knob, Param
from ispkit.isp.external.knobs import BoxKnob, as_text
from ispkit.isp.external.parameter_file import fill, found, missing_list


def values_in(knobs: Mapping[str, BoxKnob], kind: str, text: str) -> dict[str, float | str]:
    """The knobs' values that a parameter file holds; a knob that it does not name is left out.

    A knob whose `enable` keys are not set is read as off, where it has an `off_at`.
    """
    values: dict[str, float | str] = {}
    for name, knob in knobs.items():
        if knob.off_at is not None and not awake(knob, kind, text):
            values[name] = knob.off_at if isinstance(knob.off_at, str) else float(knob.off_at)
            continue
        value = found(kind, text, knob.key)
        if value is not None:
            values[name] = knob.read(value, name)
    return values


def started(knobs: Mapping[str, BoxKnob], kind: str, text: str) -> dict[str, BoxKnob]:
    """The same knobs with the file's values as defaults; ranges are widened to hold them.

    A knob that the file hands to the program's own automatic (its `enable` keys say otherwise, and it has no value
    that means off) is left out: writing it would change what the user sees before anything is tuned.
    """
    changed = {n: k for n, k in knobs.items() if k.off_at is not None or not _contradicted(k, kind, text)}
    for name, value in values_in(changed, kind, text).items():
        changed[name] = replace(knobs[name], knob=_with_default(knobs[name].knob, name, value))
    return changed


def completed(knobs: Mapping[str, BoxKnob], kind: str, text: str, template: str) -> str:
    """The file with the lists that knobs name an item of, from the spec's template where the file has none."""
    missing = {k.key: value for k in knobs.values() if (value := missing_list(kind, text, template, k.key)) is not None}
    return fill(kind, text, {key.rsplit("/", 1)[0]: value for key, value in missing.items()}) if missing else text


def _contradicted(knob: BoxKnob, kind: str, text: str) -> bool:
    stand = ((found(kind, text, key), wanted) for key, wanted in knob.enable.items())
    return any(value is not None and as_text(value).lower() != as_text(wanted).lower() for value, wanted in stand)


def awake(knob: BoxKnob, kind: str, text: str) -> bool:
    """Whether a parameter file already holds all the knob's `enable` keys."""
    for key, wanted in knob.enable.items():
        value = found(kind, text, key)
        if value is None or as_text(value).lower() != as_text(wanted).lower():
            return False
    return True


def _with_default(knob: Knob, name: str, value: float | str) -> Knob:
    if isinstance(knob, Choice):
        return replace(knob, default=str(value))
    number = float(value)
    step = knob.step or 0.0
    low, high = min(knob.low, number), max(knob.high, number)
    if step:  # the grid of legal values stays where it is
        low = knob.low - math.ceil((knob.low - low) / step - 1e-9) * step
        high = max(knob.high, low + math.ceil((high - low) / step - 1e-9) * step) if high > knob.high else knob.high
    try:
        return _snapped(replace(knob, low=low, high=high, default=number))
    except ParamError as error:
        raise RecipeError(f"{name}={number:g} in the file to start from does not fit this knob: {error}") from error


def _snapped(knob: Param) -> Param:
    """The default on the knob's own grid."""
    if knob.step is None:
        return knob
    steps = round((knob.default - knob.low) / knob.step)
    return replace(knob, default=min(max(knob.low + steps * knob.step, knob.low), knob.high))
