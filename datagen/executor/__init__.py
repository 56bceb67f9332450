"""Executors: run a list of idempotent tasks, here or elsewhere."""
