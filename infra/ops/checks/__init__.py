"""Checks of what a report says, beyond its schema: a small library. Pure."""
