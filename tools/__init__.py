"""What the Makefile calls: set-up, the notebook executor, the page build and the lock file."""
