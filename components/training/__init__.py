"""From validated rows to a model directory."""
