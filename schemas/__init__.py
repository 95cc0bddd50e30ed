"""The nouns: notification, change, clock, asset. Pure data; imports nothing of ours."""
