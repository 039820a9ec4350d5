"""One script for each change of the tables, run by Alembic."""
