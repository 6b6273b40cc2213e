"""What a delivery must be like before anything is trained on it."""
