"""`lamplighter secrets`: keeping secrets encrypted, and finding out whether they can be read."""
