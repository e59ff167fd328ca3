"""Runs in files: submitted to an environment, and taken from one with all that they need."""
