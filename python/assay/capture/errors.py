"""Errors that the user can fix; the message tells what was found where."""


class InputError(Exception):
    """A file that cannot be used: exit code 3."""


class UsageError(Exception):
    """An argument that cannot be used: exit code 2."""
