-- Content may go back: an epoch leads its clocks, in front of the version, which led alone (`content_clock_of` in schemas/clock.py).

CREATE FUNCTION media_content_clock(clock text, version bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    told    bigint := split_part(clock, '.', 1);
    seconds bigint := left(split_part(clock, '.', 2), 10);
    rank    text   := split_part(clock, '.', 3);
    epoch   bigint;
BEGIN
    IF told = 999999999999 THEN  -- all that was higher was written as this
        told := version;
    END IF;
    IF told = 0 THEN
        epoch := CASE rank WHEN '1' THEN seconds ELSE 0 END;
    ELSIF told NOT BETWEEN 1293840000 AND extract(epoch FROM now()) + 300 THEN
        epoch := seconds;
    ELSIF rank = '0' THEN
        epoch := greatest(told, seconds);
    ELSIF rank = '1' AND seconds - told > 300 THEN
        epoch := seconds;
    ELSE
        epoch := told;
    END IF;
    RETURN concat_ws('.', lpad(epoch::text, 10, '0'), lpad((told % 10000000000)::text, 10, '0'), substr(clock, 14));
END $$;

-- A version alone stood for all that is older than content of which only readings had told; they need it no more.
CREATE FUNCTION media_content_clocks(clocks jsonb, version bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_object_agg(
        name, CASE WHEN name ~ '^(content|placeholder|details)(\.|$)' THEN media_content_clock(clock, version) ELSE clock END), '{}')
    FROM jsonb_each_text(clocks) AS told (name, clock)
    WHERE clock LIKE '%.%'
$$;

UPDATE media_assets SET clocks = media_content_clocks(clocks, coalesce(version, 0))
WHERE clocks::text ~ '"(content|placeholder|details)["\.]';

UPDATE media_purged SET was = jsonb_set(was, '{clocks}', media_content_clocks(was -> 'clocks', coalesce((was ->> 'version')::bigint, 0)))
WHERE was ? 'clocks';

DROP FUNCTION media_content_clocks, media_content_clock;
