-- A record that names very many assets is applied in pieces, each in a transaction of its own: the next one begins at this statement
-- of the record at next_offset.
ALTER TABLE media_offsets ADD COLUMN next_place integer NOT NULL DEFAULT 0;
