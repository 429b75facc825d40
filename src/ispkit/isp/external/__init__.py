"""Black boxes behind the one contract: programs, services, libraries and Python functions."""
