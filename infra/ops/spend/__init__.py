"""What the provider billed, beside what the worker knows of its calls."""
