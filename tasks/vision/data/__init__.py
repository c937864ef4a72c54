"""From folders and archives of images to batches."""
