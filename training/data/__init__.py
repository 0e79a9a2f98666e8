"""From log files to arrays: the lines of a corpus, their labels, their windows, and what is learnt of their texts."""
