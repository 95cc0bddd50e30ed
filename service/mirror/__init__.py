"""Kafka to PostgreSQL: the only writer of the mirror."""
