"""Turns what a run wrote to disk into plots and one self-contained report.html."""
