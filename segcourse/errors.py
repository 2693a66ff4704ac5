"""The errors that a person meets: each says what was given, what is needed and what to do.

Both are ValueErrors, so code that calls the package may catch either; the command line prints
their text without a traceback.
"""


class DataError(ValueError):
    """A data set, an image or a mask is missing, unreadable or not what its place needs."""


class UsageError(ValueError):
    """Options that do not go together, or a run that cannot start with what it was given."""
