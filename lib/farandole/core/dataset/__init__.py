"""A data set on disk: what its files, its manifest and its pages hold, and how they come to be there."""
