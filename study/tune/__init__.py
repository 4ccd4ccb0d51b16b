"""Ray: where trials run, and all that touches its private parts."""
