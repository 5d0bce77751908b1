-- What was found before keeps the time when it was found.
INSERT INTO import_error (file, position, message, line, col, field, suggestion, excerpt, found_at, bundle_name)
SELECT e.file, e.position, e.message, e.line, e.col, e.field, e.suggestion, e.excerpt, coalesce(e.found_at, now()), e.bundle_name
FROM unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[],
            $9::timestamptz[], $10::text[])
     AS e (file, position, message, line, col, field, suggestion, excerpt, found_at, bundle_name)
