"""The command line: one file per group of verbs. Each is imported when it is used, and not before."""
