"""`c71`: a register-level stand-in for the hardware ISP of Tseng et al. (2019), in fixed point."""
