import { as, listOf, type Tree } from './tree.js';

/** Statements that show or change a setting, and the names of ours: `pg_durable.` and words with dots. */

export interface SettingStatement {
  /** Of the statement, in CommandComplete. */
  readonly tag: string;
  /** As the server knows it, in lower case. */
  readonly name: string;
  /** null: back to the default, or nothing to be said. */
  readonly value: string | null;
  /** For whom it would count: `show`: nothing changes. */
  readonly scope: 'show' | 'session' | 'system' | 'role';
}

/** Whether the server would look for it among the extension's settings. */
export function isOurs(name: string): boolean {
  return /^pg_durable(?:\.[a-z_][a-z0-9_]*){1,3}$/i.test(name);
}

/** The statement's setting if it is one of ours. */
export function settingStatement(statement: unknown): SettingStatement | null {
  const show = as(statement, 'VariableShowStmt');
  if (show !== undefined) return of('SHOW', show, 'show');
  const set = as(statement, 'VariableSetStmt');
  if (set !== undefined) return of(set.kind === 'VAR_RESET' ? 'RESET' : 'SET', set, 'session');
  const system = as(statement, 'AlterSystemStmt');
  if (system !== undefined) return of('ALTER SYSTEM', setting(system), 'system');
  const role = as(statement, 'AlterRoleSetStmt');
  if (role !== undefined) return of('ALTER ROLE', setting(role), 'role');
  const database = as(statement, 'AlterDatabaseSetStmt');
  if (database !== undefined) return of('ALTER DATABASE', setting(database), 'role');
  return null;
}

/** The statement within, which is not wrapped in its type. */
function setting(statement: Tree): Tree {
  return (statement.setstmt ?? {}) as Tree;
}

function of(tag: string, fields: Tree, scope: SettingStatement['scope']): SettingStatement | null {
  const name = typeof fields.name === 'string' ? fields.name : '';
  if (!isOurs(name)) return null;
  const [first, ...others] = listOf(fields.args);
  const value = first === undefined || others.length > 0 ? null : assigned(first);
  // Only what can be in a literal anywhere; nothing of ours has such values.
  if (value !== null && !/^[\x20-\x7e]*$/.test(value)) return null;
  if (value !== null && /[\\$]/.test(value)) return null;
  return { tag, name: name.toLowerCase(), value, scope };
}

/** The constant that a setting is given, as text; null: something else. */
export function assigned(node: unknown): string | null {
  const constant = as(node, 'A_Const');
  if (constant === undefined) return null;
  const text = as(constant, 'sval')?.sval;
  if (text !== undefined || constant.sval !== undefined) return String(text ?? '');
  if (constant.ival !== undefined) return String((constant.ival as Tree).ival ?? 0);
  if (constant.fval !== undefined) return String((constant.fval as Tree).fval ?? 0);
  if (constant.boolval !== undefined) return (constant.boolval as Tree).boolval === true ? 'on' : 'off';
  return null;
}
