"""Tasks on pictures: detectors with their losses and their evaluation."""
