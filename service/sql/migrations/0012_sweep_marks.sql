-- A listing that goes round is known by what it shows a second time.

-- Whether a sweep that broke off can go on where it stood; one whose listing went round can't.
ALTER TABLE media_sweeps ADD COLUMN resumable boolean NOT NULL DEFAULT true;

-- Digests of the pages, and of the cursors, that a sweep under way has met in each of its listings: two for each page. Emptied at
-- its end.
CREATE TABLE media_sweep_marks (
    sweep_id bigint  NOT NULL REFERENCES media_sweeps ON DELETE CASCADE,
    pass     integer NOT NULL,
    mark     bytea   NOT NULL,
    PRIMARY KEY (sweep_id, pass, mark)
);
