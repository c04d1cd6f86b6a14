"""Of a cell."""
