"""What things are: frames, camera facts, knobs, errors. Imports nothing else of the toolkit."""
