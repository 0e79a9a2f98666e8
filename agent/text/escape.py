"""Any line as printable text of bounded length: what a hostile log holds can do nothing to a terminal or a record."""

MAX_MESSAGE, MAX_NAME = 2048, 255  # bytes


def escape(line: bytes | str, most: int = MAX_MESSAGE) -> str:
    r"""A line as printable text of at most `most` bytes: bytes that are no UTF-8 and characters that are not
    printable as \x, \u or \U.

    So no line feed, terminal sequence or bidirectional mark of a log reaches a terminal or splits a record.
    """
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= most:
        return text
    return encoded[: most - 3].decode("utf-8", "ignore") + "..."
