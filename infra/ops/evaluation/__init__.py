"""Prompts, schemas and models compared on the inputs of past steps, by the deployed code."""
