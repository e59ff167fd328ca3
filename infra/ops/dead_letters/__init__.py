"""Dead letters: listed, inspected, replayed, discarded."""
