"""Judging schemas and answers. Pure."""
