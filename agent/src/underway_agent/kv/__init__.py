"""Key-value servers behind one contract: see ``base``; ``opening.open_kv`` makes one from an address."""
