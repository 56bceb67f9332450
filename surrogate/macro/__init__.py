"""Quasi-static finite elements driven by any law."""
