"""From the bytes of a source to lines, and from a line to its canonical text and its tokens."""
