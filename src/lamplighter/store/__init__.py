"""What outlives the process: endpoints, transitions, usage, audit."""
