"""What happened: events, the ledger and its views, the folder and its copy elsewhere."""
