"""Where `segcourse` and `python -m segcourse` start; everything else is in `segcourse.cli`."""

import sys

from segcourse.cli import main

if __name__ == "__main__":
    sys.exit(main())
