"""Dead letters: the records that could not be processed, kept to be looked at and sent again."""
