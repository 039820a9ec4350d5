"""`lamplighter doctor`: is all there that Lamplighter needs, and what is to be done where it is not."""
