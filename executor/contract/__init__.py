"""Documents that only this stage reads, parsed once. Pure."""
