"""PostgreSQL to Kafka: media events for downstream services."""
