"""Optuna: what to try next, and what the outcome of a trial means."""
