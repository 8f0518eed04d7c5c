"""python -m advdm"""

import sys

from advdm.cli import main

sys.exit(main())
