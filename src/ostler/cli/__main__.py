"""`python -m ostler.cli`."""

import sys

from ostler.cli.main import main

sys.exit(main())
