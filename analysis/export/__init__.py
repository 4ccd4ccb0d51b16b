"""Results as files: configurations, tables, registered models."""
