"""Text that came from a file, a command line or another host, made fit to be shown."""

LONGEST = 2000  # characters of a message; what a file holds may have millions


def printable(text: str) -> str:
    r"""`text` with all that a terminal would obey instead of showing it written as ``\x1b``, ``\n``, ``\u202e``.

    Lone surrogates, which stand for bytes of file names that are no UTF-8, are escaped, too: the result can be encoded.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message(text: str) -> str:
    """`text` as one line for a terminal; of one that is far too long, its beginning and its end."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 500]} … {text[-500:]}"
    return printable(text)


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 rank``, ``2,000 ranks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
