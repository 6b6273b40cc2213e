"""From raw text to a base model: corpus, vocabulary, examples, training."""
