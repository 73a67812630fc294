"""python -m assay is the command assay."""

import sys

from ._program import main

sys.exit(main())
