"""Cloud Storage and Gemini. Vendor types and errors stop here."""
