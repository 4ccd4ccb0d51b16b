"""The answer of a confirmation, in tables and words."""
