"""Whatever trains many runs under one ledger: a search, a grid, a confirmation."""
