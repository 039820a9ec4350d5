"""`lamplighter guard`: what is running, what it costs, who wants it, and pausing what nobody wants."""
