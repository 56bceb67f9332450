"""Homogenisation: batched finite-element solves on periodic voxel cells, and the cell as a law."""
