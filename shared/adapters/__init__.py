"""The way to the services that both stages use. Vendor types and errors stop here."""
