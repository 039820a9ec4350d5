"""The way of a request: read, claim, relay."""
