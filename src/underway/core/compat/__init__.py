"""A front for hosts that look their permission up in a key-value store, as those of python-jiocloud do. Pure."""
