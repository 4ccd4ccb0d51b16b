"""The noise as a callback of other libraries' training loops; each needs its library installed."""
