/**
 * The name and value of a ParameterStatus message that is whole at buf[start, end), header included; null where it
 * is malformed.
 */
export function readParameterStatus(
  buf: Buffer,
  start: number,
  end: number,
): { name: string; value: string } | null {
  const nameEnd = buf.indexOf(0, start + 5);
  if (nameEnd < 0 || nameEnd >= end) return null;
  const valueEnd = buf.indexOf(0, nameEnd + 1);
  if (valueEnd < 0 || valueEnd >= end) return null;
  return {
    name: buf.toString('utf8', start + 5, nameEnd),
    value: buf.toString('utf8', nameEnd + 1, valueEnd),
  };
}
