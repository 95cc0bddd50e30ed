"""The log, read again: replay, history, and the proof that the mirror equals it."""
