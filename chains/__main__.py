"""``python -m chains`` and the ``chains`` command."""

import sys

from chains.cli.main import run
from chains.terminal import take_over


def main() -> int:
    """Run the command line and return its exit code."""
    take_over()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
