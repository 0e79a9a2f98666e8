"""Lines in, scores out: streams and their windows, what a model makes of them, and the limits they are held against."""
