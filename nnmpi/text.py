"""Texts for people: made safe to show, wrapped, cut short, counted, rounded."""

import textwrap

LONGEST = 2000  # characters of a message; a text from a file may have millions


def printable(text: str) -> str:
    r"""Return `text` with escapes such as ``\x1b``, ``\n``, ``\u202e`` for characters that control a terminal.

    Lone surrogates, which stand for bytes of a file name that is not UTF-8, are escaped, too: the result can be
    encoded.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message(text: str) -> str:
    """Return `text` as one line for a terminal. A text that is too long is cut to its beginning and its end."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 500]} … {text[-500:]}"
    return printable(text)


def labelled(label: str, text: str, width: int, indent: int) -> str:
    """Return `label` and `text`, wrapped to `width` columns; each line of the text begins at column `indent`."""
    return textwrap.fill(
        printable(text),
        width,
        initial_indent=label.ljust(indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,  # so that a path can be copied
    )


def listed(texts: list[str], most: int) -> str:
    """Return the first `most` texts, and how many there are if these are not all: ``a, b, … (12 in all)``."""
    return ", ".join(texts[:most]) + (f", … ({len(texts)} in all)" if len(texts) > most else "")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 rank``, ``2,000 ranks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def score_text(value: float) -> str:
    """Return a score with four decimal places; with six digits if it is large, or so small that few would be left."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 10_000 else f"{value:.6g}"
