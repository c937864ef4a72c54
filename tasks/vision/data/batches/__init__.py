"""From a data set to what a training sees: targets, samples, order and augmentation."""
