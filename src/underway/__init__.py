"""Underway upgrades a running cluster of many services while it keeps serving, and proves that it did."""

__version__ = "0.1.0"
