"""Prompts and schemas: published, listed, compared."""
