/**
 * The config of an HTTP node: read from its query, and filled in when it executes. Hand-written ones are ordinary
 * input. Source: df-api §1.1 (shape), §5.1 (what is substituted, all of it raw). Pure.
 */
import type { Part } from '../../http/multipart.js';
import type { HttpNode } from '../graph.js';
import { JsonNumber, tryParseJson } from '../json.js';
import { SubstitutionError } from '../reference.js';
import { type Bindings, substitute } from '../substitute.js';

/** A config that cannot be read, or cannot be filled in; the message is the node's error. */
export class HttpConfigError extends Error {}

export interface HttpCall {
  readonly url: string;
  readonly method: string;
  /** By name; those whose value is a string. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  readonly timeoutSeconds: number;
  readonly content: { readonly kind: 'body'; readonly body: string | null } | MultipartContent;
}

export interface MultipartContent {
  readonly kind: 'parts';
  readonly parts: readonly Part[];
}

type Fields = ReadonlyMap<string, unknown>;

const WHOLE_REFERENCE =
  /^(?:\$[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?\??|\{[A-Za-z_][A-Za-z0-9_]*\})$/;

/** @throws HttpConfigError, SubstitutionError */
export function httpCall(node: HttpNode, bindings: Bindings): HttpCall {
  const fill = (text: string): string => substitute(text, bindings, 'raw');
  const invalid = node.type === 'HTTP' ? 'Invalid HTTP config' : 'Invalid multipart HTTP config';
  const reader = new Reader(invalid);
  const config = reader.object(tryParseJson(node.query), 'the config');
  const url = reader.text(config, 'url');
  const method = reader.text(config, 'method');
  const timeoutSeconds = reader.seconds(config);
  const given = config.get('headers');
  const headers = [...(given instanceof Map ? given : [])]
    .filter((entry): entry is [string, string] => typeof entry[1] === 'string')
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const common = {
    url: fill(url),
    method,
    headers: headers.map(([name, value]) => [name, fill(value)] as const),
    timeoutSeconds,
  };
  if (node.type === 'HTTP') {
    const body = reader.optionalText(config, 'body');
    return { ...common, content: { kind: 'body', body: body === null ? null : fill(body) } };
  }
  const listed = config.get('parts');
  if (!Array.isArray(listed)) throw new HttpConfigError(`${invalid}: parts must be an array`);
  const parts = listed.map((part: unknown, i): Part => {
    const fields = reader.object(part, `part ${i + 1}`);
    const name = fill(reader.text(fields, 'name'));
    const filename = reader.optionalText(fields, 'filename');
    return {
      name,
      data: partData(reader.text(fields, 'data_b64'), name, node.id, fill),
      filename: filename === null ? null : fill(filename),
      contentType: reader.optionalText(fields, 'content_type'),
    };
  });
  return { ...common, content: { kind: 'parts', parts } };
}

/** Spliced into base64, a value would ruin it: only a reference that is everything is replaced. */
function partData(data: string, part: string, node: string, fill: (text: string) => string): string {
  const trimmed = data.trim();
  if (WHOLE_REFERENCE.test(trimmed)) return fill(trimmed);
  if (!/[${]/.test(data)) return data;
  throw new SubstitutionError(
    `HTTP_MULTIPART node ${node}: data_b64 for part '${part}' mixes a variable reference with other text. Only a whole-value reference is supported (e.g. data_b64 => '$result' or '{myvar}'), because splicing into base64 would corrupt the payload.`,
  );
}

class Reader {
  readonly #invalid: string;
  constructor(invalid: string) {
    this.#invalid = invalid;
  }

  object(value: unknown, what: string): Fields {
    if (value instanceof Map) return value;
    throw this.#error(`${what} is not a JSON object`);
  }

  text(fields: Fields, name: string): string {
    const value = fields.get(name);
    if (value === undefined) throw this.#error(`missing field \`${name}\``);
    if (typeof value !== 'string') throw this.#error(`${name} must be a string`);
    return value;
  }

  optionalText(fields: Fields, name: string): string | null {
    const value = fields.get(name);
    if (value === undefined || value === null) return null;
    if (typeof value !== 'string') throw this.#error(`${name} must be a string or null`);
    return value;
  }

  /** timeout_seconds; without one that of the builders. */
  seconds(fields: Fields): number {
    const value = fields.get('timeout_seconds');
    if (value === undefined) return 30;
    const text = value instanceof JsonNumber ? value.text : '';
    if (!/^[1-9]\d{0,9}$/.test(text)) throw this.#error('timeout_seconds must be a positive integer');
    return Number(text);
  }

  #error(detail: string): HttpConfigError {
    return new HttpConfigError(`${this.#invalid}: ${detail}`);
  }
}
