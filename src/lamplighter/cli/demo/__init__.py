"""The demo: the whole of Lamplighter's work, once, with a real model on this machine."""
