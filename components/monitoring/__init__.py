"""The monitor: what the endpoint answers now against what the model was trained for."""
