"""From the bytes of a source to its lines: encodings, compression, records of several lines."""
