/** SQL: one transaction, checkpoint included. Source: df-api §4.2, decisions #1, #5, #6, #7. */
import type { CommandResult, Field } from '../../upstream/command.js';
import type { ServerError } from '../../upstream/session.js';
import { codeDetail, failureDetail, inWholeText, sqlFailure } from '../failure.js';
import type { SqlNode } from '../graph.js';
import { done, failed, type Outcome } from '../outcome.js';
import { type NamedResult, SubstitutionError } from '../reference.js';
import { encodeRows, NO_ROWS } from '../result/encode.js';
import { builtinName, builtinShape, LOOK_UP_TYPES, readLookUp, type Shape } from '../result/types.js';
import type { Scope } from '../scope.js';
import { splitStatements } from '../split.js';
import { mayHaveOperators } from '../step-operators.js';
import type { Strand } from '../strand.js';
import { substitute } from '../substitute.js';
import { TOO_MUCH_KEPT, type Walk } from '../walk.js';

const LESS = 'Keep large results in a table, and return what leads to them.';

/** Connections lost in a row under the same step, after which it is the step that is to blame. */
const MAX_ATTEMPTS = 10;

export async function visitSql(walk: Walk, node: SqlNode, scope: Scope, strand: Strand): Promise<Outcome> {
  strand.work += 1;
  const stamp = scope.stamp;
  const record = walk.journal.find(node.id, stamp);
  if (record?.kind === 'c') return done(record.value ?? 'null', readColumns(record.columns));
  if (record?.kind === 'f') return failed(record.value ?? '');

  const fail = (text: string, detail?: string): Outcome => {
    strand.push({ node: node.id, stamp, kind: 'f', value: text, due: null, detail });
    return failed(text);
  };
  const recorded = (sql: string) => (walk.context.settings.recordStatements ? sql : undefined);
  const failStep = (error: ServerError, sql: string): Outcome =>
    fail(sqlFailure(error.message), failureDetail(error, recorded(sql)));

  if (walk.instance.attempts >= MAX_ATTEMPTS && !walk.progressed) {
    return fail(sqlFailure(`the connection was lost ${walk.instance.attempts} times while the step ran`));
  }
  let sql: string;
  try {
    sql = substitute(node.query, walk.bindings(scope), 'sql');
  } catch (error) {
    if (error instanceof SubstitutionError) return fail(error.message);
    throw error;
  }
  // JSON can hold it, a statement cannot: the message would end there
  if (sql.includes('\0')) {
    return fail(
      sqlFailure('invalid byte sequence for encoding "UTF8": 0x00'),
      JSON.stringify({ sqlstate: '22021' }),
    );
  }
  const statements = splitStatements(sql);
  const sent =
    walk.sessions.elsewhere || !mayHaveOperators(statements)
      ? null
      : await walk.context.operators.qualify(statements);
  const step = await strand.execute(sent?.sql ?? statements);
  const asWritten = (error: ServerError, failing: number): ServerError =>
    inWholeText(sent?.original(error, failing) ?? error, sql, statements, failing);
  switch (step.kind) {
    case 'refused':
      return fail(step.text, codeDetail(step.code));
    case 'error':
      return failStep(asWritten(step.error, step.statement ?? 0), sql);
    case 'rows': {
      const answer = await toResult(walk, strand, step.result);
      if ('code' in answer) return failStep(answer, sql);
      if (!walk.hasRoomFor(answer.text)) return failStep(strand.refuse('54000', TOO_MUCH_KEPT, LESS), sql);
      const detail = answer.columns === undefined ? undefined : JSON.stringify(answer.columns);
      const end = { node: node.id, stamp, kind: 'c', value: answer.text, due: null, detail } as const;
      strand.push({ ...end, step: true, statement: recorded(sql) });
      return { kind: 'done', result: answer };
    }
  }
}

function readColumns(text: string | null): NamedResult['columns'] {
  return text === null ? undefined : (JSON.parse(text) as Array<[string, string]>);
}

/** The rows as JSON; types that are not built in are looked up first, in the same transaction. */
async function toResult(
  walk: Walk,
  strand: Strand,
  { fields, rows }: CommandResult,
): Promise<NamedResult | ServerError> {
  if (fields === null) return { text: NO_ROWS };
  const keepColumns = rows.length === 0 && walk.graph.expandsRowSets;
  if (rows.length === 0 && !keepColumns) return { text: NO_ROWS };
  const unknown = fields.filter((field) => builtinShape(field.type) === undefined);
  let shapes: ReadonlyMap<number, Shape> = new Map();
  let names: ReadonlyMap<number, string> = new Map();
  if (unknown.length > 0) {
    const oids = `{${[...new Set(unknown.map((field) => field.type))].join(',')}}`;
    const found = await strand.query({ sql: LOOK_UP_TYPES, parameters: [oids], rows: true });
    if ('code' in found) return found;
    ({ shapes, names } = readLookUp(found.rows));
  }
  if (keepColumns) {
    const nameOf = (field: Field) => builtinName(field.type) ?? names.get(field.type) ?? 'text';
    // of repeated names the last counts, as in rows
    return { text: NO_ROWS, columns: [...new Map(fields.map((field) => [field.name, nameOf(field)]))] };
  }
  const shapeOf = (field: Field): Shape =>
    builtinShape(field.type) ?? shapes.get(field.type) ?? { kind: 'text' };
  return { text: encodeRows(fields, fields.map(shapeOf), rows) };
}
