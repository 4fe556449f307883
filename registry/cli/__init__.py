"""The ``mesh-registry`` command: one module per subcommand, ``main`` joins them."""
