"""Export to Keras, SavedModel, TFLite, ONNX and TensorBoard."""
