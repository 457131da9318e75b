#!/usr/bin/env python3
"""Hold a game day: break one thing at a time in a cluster, and see that no run loses its evidence.

``docs/runbooks/gamedays.md`` explains it. Needs Python 3.11, ``kubectl`` and ``chains``.
"""

import sys

from drill.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
