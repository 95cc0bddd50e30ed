"""What webhooks miss: the account is listed, compared with the mirror, and asked."""
