"""What every command stands on: options, help, interruption, and how a failure is told."""
