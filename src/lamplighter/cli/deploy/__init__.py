"""`lamplighter deploy` and `update`: from options, or from a file that is compared with what runs."""
