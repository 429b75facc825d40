"""The command line: parses, calls, prints. No maths inside; heavy imports happen in the commands."""
