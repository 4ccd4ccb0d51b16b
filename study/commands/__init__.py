"""The command lines."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
