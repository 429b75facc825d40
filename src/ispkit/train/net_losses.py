"""Losses of what a net has inside, by the names that a recipe gives them; each is a module built of the net."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from torch import nn

from ispkit.core.errors import ParamError, RecipeError, nearest
from ispkit.nets.layers import typed
from ispkit.nets.picture_net import PictureNet
from ispkit.train.representation import REPRESENTATION

NET_LOSSES: Mapping[str, Any] = REPRESENTATION
"""name -> class, called with (net, what it reads, the clean picture, views of each picture) -> a scalar"""


def check_net_loss(where: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a loss, each of its kind, the defaults of those that are not given. Raises `RecipeError`."""
    hints = get_type_hints(NET_LOSSES[name].__init__)
    known = {n: p.default for n, p in inspect.signature(NET_LOSSES[name]).parameters.items() if n != "net"}
    for option in options:
        if option not in known:
            law = nearest(option, known) if known else "it has none"
            raise RecipeError(f"{where}: {name} has no option {option!r}; {law}")
    try:
        return known | {option: typed(option, hints[option], value) for option, value in options.items()}
    except ParamError as error:
        raise RecipeError(f"{where}: {name}: {error}") from error


def net_loss(where: str, name: str, net: PictureNet, options: Mapping[str, Any]) -> nn.Module:
    """The loss for a net, with fresh networks of its own. Raises `RecipeError`."""
    given = check_net_loss(where, name, options)
    try:
        loss: nn.Module = NET_LOSSES[name](net, **given)
    except ParamError as error:
        raise RecipeError(f"{where}: {error}") from error
    return loss
