"""The method: signals, the controller, perturbations and forks. Decisions need no torch."""
