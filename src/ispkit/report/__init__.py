"""Pages made from results: one self-contained HTML file each."""
