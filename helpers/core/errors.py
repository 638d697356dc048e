"""Errors: the base class of those that a user can fix, and the end of the time budget."""


class UserError(Exception):
    """A message names the culprit and the way out; commands print it and exit with status 1."""


class OutOfTime(RuntimeError):
    """The time budget is used up; finished work is kept, and the same call continues it."""
