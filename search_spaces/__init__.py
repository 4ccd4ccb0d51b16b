"""Which settings are searched, and where: spaces, and ranges read off the baseline."""
