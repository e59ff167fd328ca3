"""What a user can act on: the base of all failures that are told without a traceback."""


class CannotBeDone(Exception):
    """It cannot be done; the message says why, and what to do."""

    #: What the command line exits with.
    exit_code = 1
