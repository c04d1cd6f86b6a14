"""Upgrades of the laboratory by Underway, each judged on what probes saw and on what the cloud itself says after."""
