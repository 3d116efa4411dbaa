"""Raw records -> clean/."""
