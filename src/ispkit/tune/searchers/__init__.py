"""The methods that see a point and a score and nothing else, one family a file."""
