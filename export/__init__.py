"""From a run folder to a verified bundle of ONNX graphs."""
