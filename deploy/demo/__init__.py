"""The demo: a city, its endpoint and one unit in a temporary folder, on a clip with known truth."""
