"""Reports: read, and verified against what they were made from."""
