"""Files of bounded size with a data set's images, written and read."""
