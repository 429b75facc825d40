"""The knobs of a black box: how a spec declares one, and what is written for its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ispkit.core.errors import IspkitError, RecipeError, nearest
from ispkit.core.param import Choice, Condition, Knob, Param
from ispkit.core.space import ParamSpace

Written = float | int | str | bool
"""what stands in a parameter file"""

_KEYS = ("key", "default", "low", "high", "unit", "scale", "step", "bits", "options", "when", "enable", "off_at", "doc")
_SWITCH = {True: "on", False: "off"}  # YAML reads the bare words as booleans
_DIGITS = 7  # a knob's value has passed through float32


@dataclass(frozen=True)
class BoxKnob:
    """One knob of a black box."""

    knob: Knob
    key: str
    """where its value goes: "Section/Key" (INI), "a/b/0" (JSON, YAML), "a/b@c" (XML), "--gain" (flags)"""
    written: Mapping[str, Written] = field(default_factory=dict)
    """of a choice: option -> what is written"""
    enable: Mapping[str, Written] = field(default_factory=dict)
    """keys without which the program ignores this one; written while the knob acts"""
    off_at: Written | None = None
    """a value that asks for nothing: `enable` is not written then"""

    def write(self, value: float | str) -> Written:
        """What is written for a plain value: registers rounded, whole numbers without a point."""
        if isinstance(self.knob, Choice):
            return self.written[self.knob.name(value)]
        number = float(value)
        step = self.knob.step
        if step is not None:
            low, high = self.knob.low, self.knob.high
            number = min(max(low + round((number - low) / step) * step, low), high)
            if float(step).is_integer() and float(low).is_integer():
                return round(number)
        return float(f"{number:.{_DIGITS}g}")

    def is_off(self, written: Written) -> bool:
        """Whether a written value asks for nothing."""
        if self.off_at is None:
            return False
        off = self.off_at if isinstance(self.off_at, str) else float(self.off_at)
        return as_text(written) == as_text(self.write(off))

    def read(self, text: Any, name: str) -> float | str:
        """The value that a written one stands for. Raises `RecipeError` where there is none."""
        if isinstance(self.knob, Choice):
            for option, written in self.written.items():
                if as_text(written) == as_text(text):
                    return option
            known = ", ".join(map(as_text, self.written.values()))
            raise RecipeError(f"{name}: {self.key} is {text!r}; this knob knows {known}")
        try:
            return float(text)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{name}: {self.key} is {text!r}, which is no number") from error


def as_text(value: Written) -> str:
    """A written value as words: `true`, `0.25`, `rcd`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def parse_knobs(declared: Any, where: str) -> dict[str, BoxKnob]:
    """The knobs of a spec. Raises `RecipeError` with the place."""
    if not isinstance(declared, Mapping) or not declared:
        raise RecipeError(f"{where}: 'knobs' maps names such as 'denoise.luma' to {{key: ..., default: ..., ...}}")
    return {str(name): _parse(facts, f"{where}: knobs[{str(name)!r}]") for name, facts in declared.items()}


def _parse(facts: Any, place: str) -> BoxKnob:
    if not isinstance(facts, Mapping) or "key" not in facts or "default" not in facts:
        raise RecipeError(f"{place}: a knob needs 'key' and 'default', and 'low' and 'high', 'bits' or 'options'")
    for key in facts:
        if key not in _KEYS:
            raise RecipeError(f"{place}: unknown key {key!r}; {nearest(str(key), _KEYS)}")
    enable = facts.get("enable") or {}
    if not isinstance(enable, Mapping):
        raise RecipeError(f"{place}: enable={enable!r} maps keys to values, such as {{Sharpening/Enabled: true}}")
    written = _options(facts.get("options"), place)
    try:
        knob = _choice(facts, written) if written else _param(facts)
    except (IspkitError, TypeError, ValueError, KeyError) as error:
        raise RecipeError(f"{place}: {_plain(error)}") from error
    off_at = facts.get("off_at")
    if written and isinstance(off_at, bool):
        off_at = _SWITCH[off_at]
    return BoxKnob(knob, str(facts["key"]), written, {str(k): v for k, v in enable.items()}, off_at)


def _options(given: Any, place: str) -> dict[str, Written]:
    if given is None:
        return {}
    if isinstance(given, list):
        given = {v: v for v in given}
    if not isinstance(given, Mapping) or not given:
        raise RecipeError(f"{place}: options={given!r} is a list of words, or maps names to what is written")
    return {_name(name): written for name, written in given.items()}


def _name(option: Any) -> str:
    return _SWITCH[option] if isinstance(option, bool) else str(option)


def _choice(facts: Mapping[str, Any], written: Mapping[str, Written]) -> Choice:
    for key in ("low", "high", "scale", "step", "bits", "unit"):
        if key in facts:
            raise ValueError(f"{key!r} is for numbers; this knob has options")
    doc = str(facts.get("doc", ""))
    return Choice(default=_name(facts["default"]), options=tuple(written), when=_condition(facts), doc=doc)


def _param(facts: Mapping[str, Any]) -> Param:
    bits = facts.get("bits")
    if bits is None and not {"low", "high"} <= set(facts):
        raise ValueError("a number needs 'low' and 'high', or 'bits', the width of its register")
    widest = 2.0 ** int(bits) - 1 if bits is not None else 0.0
    step = facts.get("step", 1 if bits is not None else None)
    low, high = float(facts.get("low", 0)), float(facts.get("high", widest))
    if bits is not None and not (low >= 0 and high <= widest):
        raise ValueError(f"a register of {bits} bits holds 0 to {widest:g}, the range is {low:g} to {high:g}")
    return Param(
        default=float(facts["default"]),
        low=low,
        high=high,
        unit=str(facts.get("unit", "1")),
        scale=facts.get("scale", "linear"),
        step=None if step is None else float(step),
        differentiable=False,
        when=_condition(facts),
        doc=str(facts.get("doc", "")),
    )


def _condition(facts: Mapping[str, Any]) -> Condition | None:
    when = facts.get("when")
    if when is None:
        return None
    if not isinstance(when, Mapping) or len(when) != 1:
        raise ValueError(f"when={when!r} names one choice of the same group and its options: {{method: [usm]}}")
    ((sibling, options),) = when.items()
    listed = options if isinstance(options, list) else [options]
    return str(sibling), tuple(_name(o) for o in listed)


def _plain(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def check_conditions(space: ParamSpace, where: str) -> None:
    """Raise `RecipeError` for a condition on something that is no choice of the same group."""
    known = dict(space)
    for name, knob in known.items():
        if knob.when is None:
            continue
        sibling = f"{name.rsplit('.', 1)[0]}.{knob.when[0]}"
        choice = known.get(sibling)
        if not isinstance(choice, Choice):
            raise RecipeError(f"{where}: knobs[{name!r}] acts only if {sibling!r}, which is no choice of this spec")
        for option in knob.when[1]:
            if option not in choice.options:
                raise RecipeError(f"{where}: {sibling!r} has no option {option!r}; {nearest(option, choice.options)}")
