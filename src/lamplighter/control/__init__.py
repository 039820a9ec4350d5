"""One controller for each endpoint, and the fleet of them all."""
