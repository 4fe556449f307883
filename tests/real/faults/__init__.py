"""Faults of real clusters, and what a client of the registry sees of them: nothing."""
