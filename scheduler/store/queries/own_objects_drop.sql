-- Drops everything that belongs to this role in its database, so that a backup finds the place as it was made for: a table of a newer
-- version would hold on to those that are replaced, and stand in the way of the next upgrade. What extensions own stays.
SET client_min_messages = warning;
DO $drop$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY (
        WITH place AS (
            SELECT n.oid, n.nspname, n.nspowner FROM pg_namespace AS n
            WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
        ), of_extension AS (
            SELECT d.classid, d.objid FROM pg_depend AS d WHERE d.deptype = 'e'
        ), own AS (
            SELECT CASE WHEN c.relkind IN ('r', 'p') THEN 1 ELSE 2 END AS step,
                CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                    WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind,
                c.oid::regclass::text AS name, 'pg_class'::regclass::oid AS classid, c.oid AS objid, c.relowner AS owner
            FROM pg_class AS c JOIN place AS p ON p.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            UNION ALL
            SELECT 3, 'ROUTINE', f.oid::regprocedure::text, 'pg_proc'::regclass::oid, f.oid, f.proowner
            FROM pg_proc AS f JOIN place AS p ON p.oid = f.pronamespace
            UNION ALL
            SELECT 4, 'TYPE', t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, t.typowner
            FROM pg_type AS t JOIN place AS p ON p.oid = t.typnamespace LEFT JOIN pg_class AS c ON c.oid = t.typrelid
            WHERE t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c'
            UNION ALL
            SELECT 5, 'SCHEMA', quote_ident(p.nspname), 'pg_namespace'::regclass::oid, p.oid, p.nspowner
            FROM place AS p WHERE p.nspname <> 'public'
        )
        SELECT coalesce(array_agg(format('DROP %s IF EXISTS %s CASCADE', o.kind, o.name) ORDER BY o.step, o.name), '{}')
        FROM own AS o
        WHERE pg_has_role(o.owner, 'USAGE')
            AND NOT EXISTS (SELECT FROM of_extension AS e WHERE e.classid = o.classid AND e.objid = o.objid)
    )
    LOOP
        EXECUTE statement;
    END LOOP;
END
$drop$;
