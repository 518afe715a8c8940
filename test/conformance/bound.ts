/** A statement with a parameter in the place of each string literal. */
export interface Bound {
  readonly text: string;
  readonly values: string[];
}

const LITERAL_OR_COMMENT = /--[^\n]*|\/\*[\s\S]*?\*\/|'((?:[^']|'')*)'|\$\$([\s\S]*?)\$\$/g;

/**
 * A call of a function of df with every string literal bound instead of written, as programs send it. Other statements
 * stay as they are: most take no parameters.
 */
export function bound(statement: string): Bound {
  const code = statement.replace(/^(?:\s|--[^\n]*\n)*/, '');
  if (!/^SELECT df\.\w+\(/i.test(code) || /\bE'/i.test(code)) return { text: statement, values: [] };
  const values: string[] = [];
  const text = statement.replace(LITERAL_OR_COMMENT, (whole, quoted?: string, dollars?: string) => {
    if (quoted === undefined && dollars === undefined) return whole;
    values.push(dollars ?? (quoted as string).replaceAll("''", "'"));
    return `$${values.length}`;
  });
  return { text, values };
}
