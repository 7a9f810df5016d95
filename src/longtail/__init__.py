"""longtail: train and judge image classifiers on data in which few classes have most of the images."""
