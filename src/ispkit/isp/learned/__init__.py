"""Learned ISPs: networks between adapters, which bring frames into their numbers and back."""
