"""What token_classification is made of: units, windows, tags, the CRF, and strict entity scores."""
