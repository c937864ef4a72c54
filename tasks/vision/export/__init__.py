"""Models for other programs: Keras, SavedModel, TFLite, ONNX, TensorBoard."""
