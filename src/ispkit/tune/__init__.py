"""Search over the knobs of any ISP: problems, objectives, methods, and the study that runs them."""
