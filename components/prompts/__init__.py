"""What zero_shot is made of: labels as sentences, compared with a text."""
