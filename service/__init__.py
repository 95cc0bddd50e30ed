"""Everything that runs: HTTP in, Kafka, PostgreSQL, and the commands that start them."""
