"""``python -m surrogate`` is ``surrogate``."""

import sys

from surrogate.cli import main

sys.exit(main())
