"""A generator of one host's log with incidents and a label a line, for demonstrations, tests and measurements.

Pure standard library. Services act by the clock or at random (services, plain); one seed gives one log for good.
"""

from training.synth.generator import INCIDENTS, PRESETS, generate
from training.synth.host import Line
from training.synth.output import FORMATS, format_line, write_log

__all__ = ["FORMATS", "INCIDENTS", "PRESETS", "Line", "format_line", "generate", "write_log"]
