"""Cloud Storage on this machine: objects in a folder, and a server in front of it."""
