"""Holding a job, from the delivery that asks for it to the commit that ends it."""
