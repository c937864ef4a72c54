"""A pretrained network as plain data: its layers and weights, blocks and features. No TensorFlow."""
