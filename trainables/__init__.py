"""Training with adaptive noise: configuration, the loop, its data and models, Ray's Trainable.

Bad input raises ``InputError``, naming the field, its value and what is allowed. That holds in all
packages; docstrings name only what is raised besides.
"""
