"""Constitutive laws: the contract and one law a file."""
