"""What pictures are judged by: reference pictures, chart KPIs, task networks, styles, any function."""
