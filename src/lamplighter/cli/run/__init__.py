"""`lamplighter run`: start, run a command, pause in every way out."""
