"""A real Apache Kafka and a real PostgreSQL as child processes, for trying things out and for tests."""
