"""``python -m densecf``, for torchrun and the like."""

import sys

from densecf.cli import main

sys.exit(main())
