"""TripleO: Heat templates, roles and environments to a catalogue and a cluster of ours (SEMANTICS, part B)."""
