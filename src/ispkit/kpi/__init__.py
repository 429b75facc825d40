"""From a shot of a chart to image-quality numbers; each KPI is a function of plain tensors, checked against truth."""
