/** How it shows that the schemas df and _df are not there: nobody has created them yet, or somebody has dropped them. */

/** Of a schema, a table or a function that does not exist. */
const MISSING = new Set(['3F000', '42P01', '42883']);

/** Whether a statement of the engine's own failed because what it names is not there. */
export function isMissing(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && MISSING.has(code);
}
