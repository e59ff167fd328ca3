"""Asking: every case by every variant, by the deployed code, in a folder of its own."""
