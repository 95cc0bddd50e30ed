-- name: take
-- Takes a call, or tells how long to wait and why.
SELECT wait, reason FROM media_budget_take($1, $2)

-- name: give_back
-- A call that was taken and never reached Cloudinary. $2: it was reconciliation's.
UPDATE media_budgets SET remaining = remaining + 1, taken = taken - CASE WHEN $2 AND taken > 0 THEN 1 ELSE 0 END WHERE cloud = $1

-- name: feed
-- What an answer told: calls allowed ($2) and remaining ($3), the window's end by Cloudinary's clock ($4), and the seconds until then
-- ($5). Answers arrive in any order, so those of a window that has passed say nothing, and of a window the least is true. A new one
-- that is seen before the old one has ended here began a moment ago, and holds no more calls of ours than Cloudinary counted; one
-- that is seen long before is a window that slides, and then what was taken goes on to count. No window ends more than a day ahead,
-- whatever the headers say: nobody is to wait for ever.
INSERT INTO media_budgets AS had (cloud, allowed, remaining, window_end, resets_at)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => least($5, 86400)))
ON CONFLICT (cloud) DO UPDATE SET
    allowed = $2,
    remaining = CASE WHEN had.window_end = $4 THEN least(had.remaining, $3) ELSE $3 END,
    taken = CASE
        WHEN had.window_end < $4 AND had.resets_at < clock_timestamp() + interval '5 seconds' THEN least(had.taken, $2 - $3)
        ELSE had.taken
    END,
    window_end = $4,
    resets_at = CASE WHEN had.window_end = $4 THEN least(had.resets_at, excluded.resets_at) ELSE excluded.resets_at END
WHERE had.window_end IS NULL OR had.window_end < $4
    OR had.window_end = $4 AND had.resets_at < excluded.resets_at + interval '10 minutes'  -- else the next has begun here already
RETURNING remaining

-- name: pause
-- No calls for $2 seconds, of which more than a day are a mistake.
INSERT INTO media_budgets AS had (cloud, paused_until)
VALUES ($1, clock_timestamp() + make_interval(secs => least($2, 86400)))
ON CONFLICT (cloud) DO UPDATE SET paused_until = greatest(had.paused_until, excluded.paused_until)

-- name: state
-- How a budget stands; $2 is reconciliation's share, of which no more is left than there are calls. No row: no call was ever made.
SELECT
    allowed,
    coalesce(CASE WHEN resets_at > now() THEN remaining END, allowed) AS remaining,
    CASE WHEN resets_at > now() THEN taken ELSE 0 END AS taken,
    greatest(
        least(
            greatest(floor($2::double precision * allowed), 1)::integer - CASE WHEN resets_at > now() THEN taken ELSE 0 END,
            CASE WHEN resets_at > now() THEN remaining END
        ),
        0
    ) AS share_left,
    greatest(extract(epoch FROM resets_at - now()), 0)::double precision AS resets_in,
    greatest(extract(epoch FROM paused_until - now()), 0)::double precision AS paused_for
FROM media_budgets
WHERE cloud = $1
