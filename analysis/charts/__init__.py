"""A chart as data, and the two ways to draw it."""
