"""Light to RAW: what a sensor does to a linear picture."""
