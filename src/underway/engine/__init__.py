"""The engine: looks, decides, commits and acts; everything that it knows is in the store."""
