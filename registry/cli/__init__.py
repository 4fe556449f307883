"""The ``mesh-registry`` command."""
