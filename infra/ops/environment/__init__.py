"""Reaching an environment, and reading its documents as they are."""
