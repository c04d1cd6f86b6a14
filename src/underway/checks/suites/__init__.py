"""Suites: what is run before, during and after an upgrade to see whether all still works."""
