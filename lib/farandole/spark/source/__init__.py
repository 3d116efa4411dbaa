"""What lies in the source, and how its records are read."""
