"""ispkit: RAW sensor data to finished pictures, by an ISP whose every knob is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ispkit.isp.develop import develop as develop

__all__ = ["develop"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import ispkit` and the command line's help stay instant."""
    if name == "develop":
        from ispkit.isp.develop import develop

        return develop
    raise AttributeError(f"module 'ispkit' has no attribute {name!r}")
