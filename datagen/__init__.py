"""The micro scale: laws, microstructures, load paths, cell solves, datasets."""
