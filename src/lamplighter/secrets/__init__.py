"""Where secrets come from: one way to read all that the configuration and the command line name by its place.

`places` tells what may be written, `sources` reads it and remembers; `vault`, `store` and `keyring_source` are the
sources that are more than a variable or a file. Whatever is read travels as `domain.secret.Secret`.
"""
