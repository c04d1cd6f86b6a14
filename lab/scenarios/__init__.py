"""Upgrades of the laboratory by Underway, each judged on what probes saw and on what the cloud itself says after."""

SCENARIOS = {
    "rolling": "drained, one host after another, each waited for: nothing may fail",
    "naive": "the same plan with draining and waiting turned off: shows what they are worth",
}
"""What ``lab/run scenario`` knows: the modules here that are run as programs."""
