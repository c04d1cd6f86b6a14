"""How an agent reaches the mail of its coordinator."""
