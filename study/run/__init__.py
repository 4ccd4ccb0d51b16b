"""One single run: its files, its weights, its dashboard and its report."""
