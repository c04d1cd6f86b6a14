"""Everything is upgraded as it should be: drained, one host after another, each waited for. Nothing may fail."""

from __future__ import annotations

import sys

from scenarios.hop import main

if __name__ == "__main__":
    sys.exit(main("rolling", __doc__ or "", naive=False))
