"""``python -m registry.cli``: the command without its installed script."""

from registry.cli.main import main

main()
