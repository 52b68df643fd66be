"""`python -m kinema`, the command line, for torchrun."""

import sys

from kinema.cli import main

sys.exit(main())
