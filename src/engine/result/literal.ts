/** Reads the text forms of arrays and composite values. Source: documentation, "Array Input and Output Syntax" and "Composite Type Input and Output Syntax". Pure. */

export type ArrayElements = Array<string | null | ArrayElements>;

/** `{1,NULL,"a b"}`, with or without bounds before it, nested to any depth. */
export function readArray(text: string, delimiter: string): ArrayElements {
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  const list = (): ArrayElements => {
    const elements: ArrayElements = [];
    at += 1; // {
    while (at < text.length && text[at] !== '}') {
      if (text[at] === '{') {
        elements.push(list());
      } else if (text[at] === '"') {
        let value = '';
        for (at += 1; at < text.length && text[at] !== '"'; at += 1) {
          if (text[at] === '\\') at += 1;
          value += text[at];
        }
        at += 1;
        elements.push(value);
      } else {
        const start = at;
        while (at < text.length && text[at] !== delimiter && text[at] !== '}') at += 1;
        const value = text.slice(start, at);
        elements.push(value === 'NULL' ? null : value);
      }
      if (text[at] === delimiter) at += 1;
    }
    at += 1; // }
    return elements;
  };
  return list();
}

/** `(a,,"b ""c""")`: nothing between commas is NULL. */
export function readComposite(text: string): Array<string | null> {
  const fields: Array<string | null> = [];
  if (text === '()') return fields;
  let at = 1;
  for (;;) {
    let value: string | null = null;
    while (at < text.length && text[at] !== ',' && text[at] !== ')') {
      value ??= '';
      if (text[at] === '"') {
        for (at += 1; at < text.length; at += 1) {
          if (text[at] === '"') {
            if (text[at + 1] !== '"') break;
            at += 1;
          } else if (text[at] === '\\') {
            at += 1;
          }
          value += text[at];
        }
        at += 1;
      } else {
        if (text[at] === '\\') at += 1;
        value += text[at];
        at += 1;
      }
    }
    fields.push(value);
    if (text[at] !== ',') return fields;
    at += 1;
  }
}
