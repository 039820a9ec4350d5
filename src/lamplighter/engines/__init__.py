"""What runs a model: a command that serves HTTP on a port, with a health route."""
