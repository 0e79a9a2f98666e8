"""oddline's runtime on the host: reads log lines, scores them with an ONNX bundle, sends the odd ones to syslog."""

__version__ = "0.1.0"
