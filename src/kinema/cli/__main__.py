"""`python -m kinema.cli`, for torchrun."""

import sys

from kinema.cli import main

sys.exit(main())
