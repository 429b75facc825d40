"""ispkit: RAW sensor data to finished pictures, by an ISP whose every knob is declared."""
