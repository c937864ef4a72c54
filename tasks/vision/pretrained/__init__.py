"""Pretrained networks: read a Keras file safely, rebuild it from stock layers, compute features."""
