"""What paired differences say: estimates, tests, sequential designs.

A trial and its baseline of the same seed share everything but the noise, so only their difference
is looked at. Pure functions of numbers.
"""
