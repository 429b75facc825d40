"""The fused CPU renderer: a fixed chain of stages as one compiled loop nest (Halide), same knobs, same picture."""
