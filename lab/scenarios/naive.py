"""The same plan by a cluster file that turns draining and waiting off, as an unthinking loop over hosts would do it.

What fails is the scenario's result, so its exit code is 1.
"""

from __future__ import annotations

import sys

from scenarios.hop import main

if __name__ == "__main__":
    sys.exit(main("naive", __doc__ or "", naive=True))
