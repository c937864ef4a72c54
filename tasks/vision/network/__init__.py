"""Networks: layers, weights, devices, predictions."""
