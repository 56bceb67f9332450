"""Microstructures on voxel grids: the class and one generator or reader a file."""
