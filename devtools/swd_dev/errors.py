"""The one exception of the development host that a user is meant to read."""


class DevError(Exception):
    """A failure told in one sentence: what was found and what to do. Shown without a traceback."""
