"""The compiled library, if there is one."""


def available() -> bool:
    """Return whether the compiled core can be used on this machine."""
    return False


def say_missing_once() -> None:
    """Say once that TensorFlow computes in place of the compiled core."""
