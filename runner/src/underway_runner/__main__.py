"""``python -m underway_runner VERB``."""

from __future__ import annotations

import sys

from underway_runner.main import main

if __name__ == "__main__":
    sys.exit(main())
