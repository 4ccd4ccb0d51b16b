"""MLflow, the only importer of it: the ledger mirrored into its pages."""
