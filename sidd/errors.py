"""The error that a caller of this package may want to show as it is."""


class SiddError(ValueError):
    """A file or folder is not what SIDD's formats allow; the message names it and says why."""
