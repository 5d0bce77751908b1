-- Assets that only a schedule has named, by one word, become those of this name or uri that are declared now.
UPDATE asset AS a
SET name = d.name, uri = d.uri, is_guess = false, updated_at = now()
FROM (SELECT DISTINCT ON (g.id) g.id, n.name, n.uri
      FROM unnest($1::text[], $2::text[]) AS n (name, uri)
      JOIN asset AS g ON g.is_guess AND g.name IN (n.name, n.uri)
      WHERE NOT EXISTS (SELECT FROM asset AS x WHERE (x.name, x.uri) = (n.name, n.uri))
        AND g.id = (SELECT min(o.id) FROM asset AS o WHERE o.is_guess AND o.name IN (n.name, n.uri))
      ORDER BY g.id, n.name, n.uri) AS d
WHERE a.id = d.id
