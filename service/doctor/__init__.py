"""What an installation lacks, and what to do about it."""
