"""The device's commands, as `python -m components.edge.device`; in an archive they are `python -m edge`."""

import sys

from components.edge.device.command import main

if __name__ == "__main__":
    sys.exit(main())
