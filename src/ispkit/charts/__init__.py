"""Pictures with known truth: test charts as linear sRGB tensors."""
