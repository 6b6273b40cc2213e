"""What to label next, and what that would buy: a pool of texts or a learning curve in, a queue or a forecast out.

pool             unlabelled rows, without those that are labelled or frozen already
usefulness       how uncertain, how novel, how different from each other
queue            the most useful rows, with the model's proposal and the reasons
queue_files      the queue as CSV, or as tasks with predictions for Label Studio
known_rows       the rows that a version was trained, chosen and judged on
learning_curve   an inverse power law through scores, what it forecasts, and how surely
curve_points     the scores of models that learned from nested parts of the training rows
label_value      both together, as a table, a sentence and a picture
"""
