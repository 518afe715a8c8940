/**
 * The raw parse tree as libpg-query prints it: objects with one key, the node's type, whose value holds the
 * fields; fields that have their default value (0, false, empty) are left out. Only what the analysis reads is
 * typed. Trees can be thousands of levels deep (a chain of operators): everything here walks without recursion.
 */

export type Tree = { [key: string]: unknown };
/** A node with its type as its only key. */
export type Node = { [type: string]: Tree };

/** Calls `visit` for each typed object in the tree, a parent before what is in it. */
export function walk(root: unknown, visit: (type: string, fields: Tree) => void): void {
  const stack: unknown[] = [root];
  while (stack.length > 0) {
    const value = stack.pop();
    if (Array.isArray(value)) {
      for (const item of value) if (typeof item === 'object' && item !== null) stack.push(item);
      continue;
    }
    const object = value as Tree;
    for (const key in object) {
      const child = object[key];
      if (typeof child !== 'object' || child === null) continue;
      // Types begin with a capital letter (or plpgsql's prefix), fields do not.
      const first = key.charCodeAt(0);
      if (first >= 0x41 && first <= 0x5a && !Array.isArray(child)) visit(key, child as Tree);
      stack.push(child);
    }
  }
}

/** Fields of the node if it is of that type. */
export function as(node: unknown, type: string): Tree | undefined {
  return node === undefined || node === null ? undefined : ((node as Node)[type] as Tree | undefined);
}

/** The text of a String node. */
export function stringOf(node: unknown): string | undefined {
  const value = as(node, 'String')?.sval;
  return typeof value === 'string' ? value : undefined;
}

/** The texts of a list of String nodes: a qualified name. */
export function namesOf(list: unknown): string[] {
  const names: string[] = [];
  if (Array.isArray(list)) for (const item of list) names.push(stringOf(item) ?? '');
  return names;
}

export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
