"""From a model directory to a bundle that answers, and keeps answering."""
