"""Training recipes: YAML files, by path or by the name of one that ships."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ispkit.core.errors import RecipeError, nearest
from ispkit.train.config import LENGTHS, Recipe
from ispkit.train.fields import build, plain

_SHIPPED = Path(__file__).parent / "recipes"
_PATHS = ("folder", "pictures", "restored", "start")
_MADE = "project"
"""pictures that the toolkit makes itself"""


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship, for `load_recipe`."""
    return tuple(sorted(p.stem for p in _SHIPPED.glob("*.yaml")))


def read_recipe(name: str | Path) -> dict[str, Any]:
    """The content of a recipe file, or of a shipped one by name, unchecked. Raises `RecipeError`."""
    path = Path(name)
    if str(name) in recipe_names():
        path = _SHIPPED / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise RecipeError(f"no training recipe {str(name)!r}; {nearest(str(name), recipe_names())}, or a .yaml file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or content.get("version") != 1:
        raise RecipeError(f"{path}: a training recipe begins with `version: 1`")
    return content


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """A recipe with `settings`, such as "phases.0.steps=100", over what it says.

    Relative paths are taken from the recipe's own folder, those of `settings` from the current one. Raises
    `RecipeError`.
    """
    content = read_recipe(name)
    if str(name) not in recipe_names():
        content = anchored(content, Path(name).absolute().parent)
    return to_recipe(anchored(changed(content, settings), Path.cwd()))


def anchored(content: dict[str, Any], base: Path) -> dict[str, Any]:
    """A copy whose paths are absolute, relative ones taken from `base`."""
    result = copy.deepcopy(content)
    inner = [result.get("data"), result.get("held_out")]
    inner += [source.get("options") for source in inner if isinstance(source, dict)]
    for mapping in (result, *(m for m in inner if isinstance(m, dict))):
        for key in _PATHS:
            value = mapping.get(key)
            if isinstance(value, str) and value != _MADE:
                mapping[key] = str(base / Path(value).expanduser())
        program = mapping.get("isp")
        if mapping is not result and isinstance(program, str) and (base / program).is_file():
            mapping["isp"] = str(base / program)
    return result


def to_recipe(content: Any) -> Recipe:
    """Checked data. Raises `RecipeError` naming the place and the nearest known word."""
    return build(Recipe, "", content)


def to_data(recipe: Recipe) -> dict[str, Any]:
    """Everything that a recipe says, defaults included, as plain data that `to_recipe` reads back."""
    data: dict[str, Any] = plain(recipe)
    return data


def identity(recipe: Recipe) -> str:
    """What decides the weights that a recipe ends with, as text to compare."""
    free = {"doc", "save_every", "log_every", "workers"}
    return json.dumps({k: v for k, v in to_data(recipe).items() if k not in free}, sort_keys=True)


def changed(content: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy with PLACE=VALUE put in, values as YAML reads them; a place is names and list positions with dots.

    A phase's steps, epochs or seconds put in replace whichever of them it had.
    """
    result, said = copy.deepcopy(content), [s.partition("=")[0] for s in settings]
    for setting in settings:
        place, sign, text = setting.partition("=")
        if not sign or not place:
            raise RecipeError(f"--set {setting}: write PLACE=VALUE, such as phases.0.steps=100")
        *path, last = place.split(".")
        at: Any = result
        for word in path:
            at = _inside(at, word, setting)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {setting}: the value is not YAML ({' '.join(str(error).split())})") from error
        if isinstance(at, list):
            _inside(at, last, setting)
            at[int(last)] = value
            continue
        if path[:1] == ["phases"] and last in LENGTHS and value is not None:
            for other in LENGTHS:
                if ".".join([*path, other]) not in said:
                    at.pop(other, None)
        at[last] = value
    return result


def _inside(at: Any, word: str, setting: str) -> Any:
    if isinstance(at, list):
        if not word.isdigit() or int(word) >= len(at):
            raise RecipeError(f"--set {setting}: {word!r} should be a position in a list, 0 to {len(at) - 1}")
        return at[int(word)]
    inner = at.setdefault(word, {})
    if not isinstance(inner, dict | list):
        raise RecipeError(f"--set {setting}: {word!r} holds {inner!r}, nothing lies in it")
    return inner
