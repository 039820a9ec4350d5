"""The marketplace from a terminal: models, offers, and who provides them."""
