"""Settings of reading that keep less of a line than a configuration may ask for, so that short lines are cut too."""

from agent.sources.decoding.settings import ReadingSettings


def cut_at(max_line: int, encoding: str = "auto", **settings: object) -> ReadingSettings:
    """Those that keep so many bytes of a line, however few."""
    reading = ReadingSettings(encoding=encoding, **settings)
    object.__setattr__(reading, "max_line", max_line)
    return reading
