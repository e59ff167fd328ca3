"""Statistics of two variants: is one better, and how sure is that. Pure."""
