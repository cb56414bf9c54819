"""Edge bundles, on the side of the workspace: built, signed, received from, run."""

import sys

from components.edge.commands import main

if __name__ == "__main__":
    sys.exit(main())
