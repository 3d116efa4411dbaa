"""Figures of a split, from integer counts that add up over rows, batches and ranks."""
