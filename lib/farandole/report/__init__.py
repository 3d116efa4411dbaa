"""Turns what a run wrote to disk into plots and one self-contained report.html."""

import logging

# As matplotlib is imported it writes two lines about the home of a user who has none, or may not write there.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
