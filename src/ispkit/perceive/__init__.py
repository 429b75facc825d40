"""Networks that look at pictures, frozen: what they find, how well, and a loss to tune an ISP by."""

from ispkit.data.boxes import Boxes
from ispkit.perceive.detector import FrozenDetector

__all__ = ["Boxes", "FrozenDetector"]
