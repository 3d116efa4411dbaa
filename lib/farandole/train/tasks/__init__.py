"""What models are trained for: their losses, and what is counted of their answers."""
