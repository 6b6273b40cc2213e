"""Data files, read strictly: rows of words, with everything that is no word beside them."""
