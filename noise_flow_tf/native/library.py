"""The compiled library, if there is one."""


def available() -> bool:
    """Return whether the compiled core can be used on this machine."""
    return False
