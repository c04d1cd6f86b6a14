"""Files of other tools -> a directory of our own files, which ``underway plan`` takes like any other.

One package a tool, and none knows another; ``native`` writes what both make. An importer reads, understands, and writes
nothing before it has understood all: every mistake of its input is told at once, with its place.
"""
