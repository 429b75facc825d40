"""Networks: tensor in, tensor out, no files, no training."""
