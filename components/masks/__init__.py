"""What fill_mask is made of: drawing masks, guessing words, and scoring texts."""
