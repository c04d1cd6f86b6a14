"""The pure core: no input, output, clock, randomness or logging (held by a linter contract)."""
