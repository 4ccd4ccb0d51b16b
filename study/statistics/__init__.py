"""What paired differences say: estimates, tests, sequential designs."""
