"""The method `proxy`: a network learns to imitate the black box, and its gradient finds the settings."""

from ispkit.tune.proxy.descend import PictureSide
from ispkit.tune.proxy.search import ProxySearcher

__all__ = ["PictureSide", "ProxySearcher"]
