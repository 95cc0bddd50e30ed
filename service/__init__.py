"""Everything that runs: HTTP in, Kafka, PostgreSQL, and the commands that start them."""

from service.shielding import shield_sdk

shield_sdk()
