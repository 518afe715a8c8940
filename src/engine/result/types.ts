/**
 * Types of PostgreSQL as the engine writes them in JSON (decision #5, df-api §4.2): which text form becomes which JSON.
 * Built-in types are known by OID (fixed in the server's catalogue); others are looked up.
 */

/** How a value's text becomes JSON. */
export type Shape =
  | {
      readonly kind:
        | 'boolean'
        | 'number'
        | 'float4'
        | 'float8'
        | 'json'
        | 'timestamp'
        | 'timestamptz'
        | 'void'
        | 'text';
    }
  | { readonly kind: 'array'; readonly element: Shape; readonly delimiter: string }
  | { readonly kind: 'composite'; readonly attributes: ReadonlyArray<readonly [name: string, shape: Shape]> }
  /** A row without a declared type: its fields are f1, f2, …, of unknown types. */
  | { readonly kind: 'record' };

const TEXT: Shape = { kind: 'text' };

const SCALARS: ReadonlyArray<readonly [oid: number, name: string, shape: Shape, arrayOid: number]> = [
  [16, 'boolean', { kind: 'boolean' }, 1000],
  [17, 'bytea', TEXT, 1001],
  [18, '"char"', TEXT, 1002],
  [19, 'name', TEXT, 1003],
  [22, 'int2vector', TEXT, 1006],
  [30, 'oidvector', TEXT, 1013],
  [20, 'bigint', { kind: 'number' }, 1016],
  [21, 'smallint', { kind: 'number' }, 1005],
  [23, 'integer', { kind: 'number' }, 1007],
  [25, 'text', TEXT, 1009],
  [26, 'oid', TEXT, 1028],
  [114, 'json', { kind: 'json' }, 199],
  [142, 'xml', TEXT, 143],
  [700, 'real', { kind: 'float4' }, 1021],
  [701, 'double precision', { kind: 'float8' }, 1022],
  [790, 'money', TEXT, 791],
  [829, 'macaddr', TEXT, 1040],
  [650, 'cidr', TEXT, 651],
  [869, 'inet', TEXT, 1041],
  [1042, 'bpchar', TEXT, 1014],
  [1043, 'varchar', TEXT, 1015],
  [1082, 'date', TEXT, 1182],
  [1083, 'time', TEXT, 1183],
  [1114, 'timestamp', { kind: 'timestamp' }, 1115],
  [1184, 'timestamptz', { kind: 'timestamptz' }, 1185],
  [1186, 'interval', TEXT, 1187],
  [1266, 'timetz', TEXT, 1270],
  [1560, 'bit', TEXT, 1561],
  [1562, 'varbit', TEXT, 1563],
  [1700, 'numeric', TEXT, 1231],
  [2205, 'regclass', TEXT, 2210],
  [2206, 'regtype', TEXT, 2211],
  [2249, 'record', { kind: 'record' }, 2287],
  [2278, 'void', { kind: 'void' }, 0],
  [2950, 'uuid', TEXT, 2951],
  [3220, 'pg_lsn', TEXT, 3221],
  [3614, 'tsvector', TEXT, 3643],
  [3615, 'tsquery', TEXT, 3645],
  [3802, 'jsonb', { kind: 'json' }, 3807],
  [4089, 'regnamespace', TEXT, 4090],
  [4096, 'regrole', TEXT, 4097],
];

const known = new Map<number, Shape>();
const names = new Map<number, string>();
for (const [oid, name, shape, arrayOid] of SCALARS) {
  known.set(oid, shape);
  names.set(oid, name);
  if (arrayOid !== 0) {
    known.set(arrayOid, { kind: 'array', element: shape, delimiter: ',' });
    names.set(arrayOid, `${name}[]`);
  }
}

/** The shape of a built-in type; undefined when its OID must be looked up. */
export function builtinShape(oid: number): Shape | undefined {
  return known.get(oid);
}

/** The SQL name of a built-in type, for a cast of NULL; undefined when it must be looked up. */
export function builtinName(oid: number): string | undefined {
  return known.get(oid)?.kind === 'void' ? 'text' : names.get(oid);
}

/**
 * Everything about the given types and the types that they are made of: type, element and delimiter of an array, base of
 * a domain, attributes, name. A name is good under any search_path; a type that no column can have is called text.
 * Parameter 1: the OIDs, as an array literal. Run in the step's own session: qualified, whatever its search_path.
 */
export const LOOK_UP_TYPES = `
WITH RECURSIVE wanted (oid) AS (
    SELECT w.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS w (oid)
    UNION
    SELECT m.oid
    FROM wanted AS w
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) w.oid
    CROSS JOIN LATERAL (
        SELECT e.oid FROM pg_catalog.pg_type AS e WHERE e.typarray OPERATOR(pg_catalog.=) t.oid
        UNION ALL
        SELECT t.typbasetype WHERE t.typtype OPERATOR(pg_catalog.=) 'd'
        UNION ALL
        SELECT a.atttypid
        FROM pg_catalog.pg_attribute AS a
        WHERE t.typtype OPERATOR(pg_catalog.=) 'c'
          AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid
          AND a.attnum OPERATOR(pg_catalog.>) 0
          AND NOT a.attisdropped
    ) AS m (oid)
)
SELECT t.oid, t.typtype, e.oid, e.typdelim, t.typbasetype,
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.atttypid::pg_catalog.int8)
                                   ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute AS a
        WHERE t.typtype OPERATOR(pg_catalog.=) 'c'
          AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid
          AND a.attnum OPERATOR(pg_catalog.>) 0
          AND NOT a.attisdropped),
       CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'p' THEN 'text'
            WHEN n.nspname OPERATOR(pg_catalog.=) 'pg_catalog' THEN pg_catalog.format_type(t.oid, NULL)
            ELSE pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.'
                 OPERATOR(pg_catalog.||) pg_catalog.quote_ident(t.typname) END
FROM wanted AS w
JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) w.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
LEFT JOIN pg_catalog.pg_type AS e ON e.typarray OPERATOR(pg_catalog.=) t.oid`;

export interface LookedUp {
  readonly shapes: ReadonlyMap<number, Shape>;
  readonly names: ReadonlyMap<number, string>;
}

/** Reads the answer of LOOK_UP_TYPES. Types that it does not know stay text. */
export function readLookUp(rows: ReadonlyArray<ReadonlyArray<string | null>>): LookedUp {
  const byOid = new Map(rows.map((row) => [Number(row[0]), row] as const));
  const shapes = new Map<number, Shape>();
  const resolve = (oid: number, depth: number): Shape => {
    const done = known.get(oid) ?? shapes.get(oid);
    if (done !== undefined) return done;
    const row = byOid.get(oid);
    if (row === undefined || depth > 32) return TEXT;
    const [, type, element, delimiter, base, attributes] = row;
    let shape: Shape = TEXT;
    if (type === 'd') {
      shape = resolve(Number(base), depth + 1);
    } else if (element !== null) {
      shape = { kind: 'array', element: resolve(Number(element), depth + 1), delimiter: delimiter ?? ',' };
    } else if (type === 'c') {
      const list = JSON.parse(attributes ?? '[]') as Array<[string, number]>;
      shape = {
        kind: 'composite',
        attributes: list.map(([name, of]) => [name, resolve(of, depth + 1)] as const),
      };
    }
    shapes.set(oid, shape);
    return shape;
  };
  for (const oid of byOid.keys()) resolve(oid, 0);
  return { shapes, names: new Map(rows.map((row) => [Number(row[0]), row[6] ?? 'text'] as const)) };
}
