"""Numbers in sentences."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one.

    >>> counted(1, "test image"), counted(2, "epoch"), counted(0, "batch")
    ('1 test image', '2 epochs', '0 batches')
    """
    ending = "" if number == 1 else "es" if noun.endswith("tch") else "s"
    return f"{number} {noun}{ending}"
