"""The classical stages, one topic a file. `STAGES` is the whole list: add a stage by adding a line."""
