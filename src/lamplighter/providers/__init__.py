"""Where endpoints live, and what can be done with them there."""
