"""What is found out about a model, and what follows from it."""
