"""How a command gets to its endpoints, waits for them, and acts on several at once."""
