"""Pure rules of the contract: values in, values out; no I/O, no clock, no environment."""
