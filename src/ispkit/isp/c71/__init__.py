"""`C71`: a register-level, fixed-point stand-in for the hardware ISP of Tseng et al. (2019)."""

from ispkit.isp.c71.baseline import Baseline, read_baseline, source_hash
from ispkit.isp.c71.isp import C71
from ispkit.isp.c71.registers import PAPER_EXPERT, REGISTERS, Register

__all__ = ["C71", "PAPER_EXPERT", "REGISTERS", "Baseline", "Register", "read_baseline", "source_hash"]
