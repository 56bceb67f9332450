"""Atoms: potentials, crystals, statics, dynamics, and lattices as laws."""
