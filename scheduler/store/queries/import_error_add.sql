INSERT INTO import_error (file, position, message, line, col, field, suggestion, excerpt)
SELECT $1, e.position - 1, e.message, e.line, e.col, e.field, e.suggestion, e.excerpt
FROM unnest($2::text[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[]) WITH ORDINALITY
     AS e (message, line, col, field, suggestion, excerpt, position)
