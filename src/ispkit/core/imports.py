"""Things of the user's own modules, by name."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from ispkit.core.errors import ParamError, nearest


def imported(text: str) -> Any:
    """What `package.module:attribute` names; the module is looked for in the current folder, too.

    Raises `ParamError` whatever goes wrong, in the module as well: it is the user's.
    """
    module, _, attribute = text.partition(":")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise ParamError(
            f"{text!r} cannot be imported ({type(error).__name__}: {error}); write package.module:attribute, with the "
            "module in the current folder or on the Python path"
        ) from error
    finally:
        sys.path.remove("")
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ParamError(f"{text!r}: no attribute {part!r}; {nearest(part, vars(found))}")
        found = getattr(found, part)
    return found
