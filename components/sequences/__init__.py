"""What types that answer once a text share: windows, the network, and scores."""
