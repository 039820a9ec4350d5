"""Pure records and decisions: no I/O, no await, time passed in."""
