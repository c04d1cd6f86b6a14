"""The part of Underway for hosts that ask by themselves, and the drivers for Consul and etcd."""

from __future__ import annotations

__version__ = "0.1.0"
