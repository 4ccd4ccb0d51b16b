"""Many trainings: searches, grids and confirmations. ``study.api`` is the face for Python."""
