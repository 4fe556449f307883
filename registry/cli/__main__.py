"""``mesh-registry``, or ``python -m registry.cli``: where the command begins."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C is no traceback from the first import on."""
    try:
        from registry.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit("Aborted!")


if __name__ == "__main__":
    main()
