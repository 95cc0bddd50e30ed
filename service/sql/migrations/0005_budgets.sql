-- The Admin API's hourly calls, shared by every process that makes some.

CREATE TABLE media_budgets (
    cloud        text        PRIMARY KEY,
    allowed      integer     NOT NULL DEFAULT 500,  -- calls in a window; until Cloudinary tells, what its free plan allows
    remaining    integer,                           -- as Cloudinary told, less what was taken since; null: nothing told yet
    taken        integer     NOT NULL DEFAULT 0,    -- by reconciliation in this window
    window_end   timestamptz,                       -- by Cloudinary's clock: says which window is meant, never compared with ours
    resets_at    timestamptz,                       -- the same, as it lies by this server's clock; never too early
    paused_until timestamptz,                       -- no calls before, by this server's clock
    asked_at     timestamptz                        -- when reconciliation took its first call in this window, whose answer tells all this
);

-- Takes one call, or gives the seconds to wait before asking again, and why. `share`: what part of the calls the caller's kind may
-- take, null for all.
CREATE FUNCTION media_budget_take(of_cloud text, share double precision, OUT wait double precision, OUT reason text)
LANGUAGE plpgsql AS $$
DECLARE
    budget media_budgets;
    moment timestamptz;
BEGIN
    SELECT * INTO budget FROM media_budgets WHERE cloud = of_cloud FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO media_budgets (cloud) VALUES (of_cloud) ON CONFLICT DO NOTHING;
        SELECT * INTO budget FROM media_budgets WHERE cloud = of_cloud FOR UPDATE;
    END IF;
    moment := clock_timestamp();
    IF budget.resets_at IS NULL OR budget.resets_at <= moment THEN
        budget.taken := 0;
        budget.remaining := NULL;
        budget.asked_at := NULL;
        budget.resets_at := moment + interval '1 hour';  -- no window is longer; the next answer tells
    END IF;
    wait := 0;
    IF budget.paused_until > moment THEN
        wait := extract(epoch FROM budget.paused_until - moment);
        reason := 'rate limited';
    ELSIF budget.remaining <= 0 THEN
        wait := extract(epoch FROM budget.resets_at - moment);
        reason := 'no calls left';
    ELSIF share IS NOT NULL AND budget.window_end IS NULL AND budget.asked_at > moment - interval '5 seconds' THEN
        wait := 0.05;  -- a burst of first calls could be more than its share of what is allowed, which the first answer tells
        reason := 'first answer awaited';
    ELSIF share IS NOT NULL AND budget.taken >= greatest(floor(share * budget.allowed), 1) THEN
        -- how long this window is, the first answer in it tells, if it does
        IF budget.remaining IS NULL AND budget.asked_at > moment - interval '1 minute' THEN
            wait := 0.2;
            reason := 'first answer awaited';
        ELSE
            wait := extract(epoch FROM budget.resets_at - moment);
            reason := 'share used up';
        END IF;
    ELSE
        budget.remaining := budget.remaining - 1;
        IF share IS NOT NULL THEN
            budget.taken := budget.taken + 1;
            budget.asked_at := coalesce(budget.asked_at, moment);
        END IF;
    END IF;
    UPDATE media_budgets
    SET remaining = budget.remaining, taken = budget.taken, resets_at = budget.resets_at, asked_at = budget.asked_at
    WHERE cloud = of_cloud;
END $$;
