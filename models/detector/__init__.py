"""The plate detector: training, export and measurement."""
