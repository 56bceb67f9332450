"""Networks that are laws: the contract and one architecture a file."""
