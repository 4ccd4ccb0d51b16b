"""A report that is served on this machine and renewed while what it tells of goes on."""
