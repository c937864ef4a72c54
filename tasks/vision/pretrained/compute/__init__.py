"""Compute with a pretrained network in TensorFlow: features, fine-tuning, class maps, stock layers."""
