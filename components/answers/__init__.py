"""What question_answering is made of: windows, spans, the choice of an answer, and its scores."""
