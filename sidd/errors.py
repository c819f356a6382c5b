"""The error whose message is meant for the user."""


class SiddError(ValueError):
    """A file or folder is not what SIDD's formats allow; the message names it and says why."""
