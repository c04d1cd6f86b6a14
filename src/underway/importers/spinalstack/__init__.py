"""Spinal Stack: ``infra.yaml``, ``upgrade.yaml``, snippets and variables (SEMANTICS.md part A)."""
