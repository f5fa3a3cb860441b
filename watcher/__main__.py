"""`python -m watcher`: the command line without its script on the path."""

import sys

from watcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
