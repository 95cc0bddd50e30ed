"""HTTP in: verify what Cloudinary says, put it on Kafka, answer."""
