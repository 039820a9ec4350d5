"""`python -m lamplighter`."""

import sys

from lamplighter.cli.main import main

sys.exit(main())
