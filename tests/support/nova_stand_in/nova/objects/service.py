"""The version that a service of this release writes into its record (that of 2026.1)."""

SERVICE_VERSION = 72
