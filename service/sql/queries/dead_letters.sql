-- name: redriven
-- The dead letters of a topic that were sent again.
SELECT kafka_partition, kafka_offset, failed_at, redriven_at FROM media_redrives WHERE kafka_topic = $1

-- name: remember
-- A dead letter was sent again, and where it went; the last time counts.
INSERT INTO media_redrives (kafka_topic, kafka_partition, kafka_offset, failed_at, to_partition, to_offset)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (kafka_topic, kafka_partition, kafka_offset, failed_at)
DO UPDATE SET redriven_at = now(), to_partition = excluded.to_partition, to_offset = excluded.to_offset
