"""Other people's networks: read safely, described as plain data, computed with TensorFlow."""
