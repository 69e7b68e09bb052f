"""Image data sources, splits, image sets, corruption and augmentation."""
