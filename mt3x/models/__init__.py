"""Flax Linen networks."""
