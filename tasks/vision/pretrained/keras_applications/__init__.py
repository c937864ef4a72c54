"""The networks that Keras names, `imagenet/NAME`: their graphs, weights files and preprocessing."""
