"""Run by Alembic for each upgrade: on the connection, and in the transaction, of whoever opened the database."""

from alembic import context

from lamplighter.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by copying its table
)
with context.begin_transaction():
    context.run_migrations()
