"""From a trained Keras model to one ONNX file with everything in its graph; see ``docs/how-to/export.md``."""
