"""Pure tensor maths: (B, C, H, W) in, a new tensor out. Knows no frame, no knob, no file."""
