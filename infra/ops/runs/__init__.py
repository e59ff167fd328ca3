"""Runs and steps as an operator sees them."""
