"""`python -m lamplighter.engines.llamacpp`: one replica.

A failure is one line on standard error, after llama.cpp's own if it has any, and exit code 1 or 2.
"""

from __future__ import annotations

import sys

from lamplighter.engines.llamacpp.stopping import exit_on_signals

if __name__ == "__main__":
    exit_on_signals(loading=True)  # before the imports below, which take most of the time until loading

    from lamplighter.engines.llamacpp.server import main

    sys.exit(main(sys.argv[1:]))
