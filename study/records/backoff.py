"""How long to wait before something that failed is tried again."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0


def wait_after(failures: int, longest: float = LONGEST_SECONDS) -> float:
    """Seconds: none without a failure, then twice as many with each failure in a row."""
    return min(longest, FIRST_SECONDS * 2.0 ** min(failures - 1, 10)) if failures else 0.0
