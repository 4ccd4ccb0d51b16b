"""The subcommands of ``noise-analysis``."""
