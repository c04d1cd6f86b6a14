"""Nova's database."""
