import { createRequire } from 'node:module';
import type { Tree } from './tree.js';

/**
 * The server's grammar as a guest: one instance of libpg-query's WebAssembly module that can be thrown away.
 * Deep input overflows the stack inside the module (RangeError) or exhausts its memory (RuntimeError); after
 * that the instance may be corrupt, so it is dropped and another one is built.
 *
 * States: `ready` (instance there) → on a fatal error `broken` → load() → `ready`. parse calls are for `ready`.
 */

/** The part of the emscripten module that is used. Structs are read as 32-bit words. */
interface Module {
  HEAPU8: Uint8Array;
  HEAPU32: Uint32Array;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  _wasm_parse_query_raw(text: number): number;
  _wasm_free_parse_result(result: number): void;
  _wasm_parse_plpgsql(text: number): number;
  _wasm_free_string(text: number): void;
}

const createModule = createRequire(import.meta.url)('libpg-query/wasm/libpg-query.js') as (
  options: object,
) => Promise<Module>;

/** What the module would print on abort goes nowhere: the exception says it. */
const silent = { print: () => {}, printErr: () => {} };

/** The heap of an instance never shrinks; one that a big statement has blown up is not kept. */
const HEAP_KEPT = 256 * 1024 * 1024;

export class Parser {
  private module: Module | null = null;
  private loading: Promise<void> | null = null;

  get ready(): boolean {
    return this.module !== null;
  }

  /** Builds an instance if there is none; the first call costs about 20 ms, mostly off the event loop. */
  load(): Promise<void> {
    if (this.module !== null) return Promise.resolve();
    this.loading ??= createModule(silent)
      .then((module) => {
        this.module = module;
        // The first parse compiles the hot functions.
        this.parse(Buffer.from("SELECT f('a' + 'b')"));
      })
      .finally(() => {
        this.loading = null;
      });
    return this.loading;
  }

  /** The raw parse tree of UTF-8 text without NUL; null if it does not parse, or the parser broke on it. */
  parse(text: Buffer): Tree | null {
    return this.guarded(text, (module, pointer) => {
      const result = module._wasm_parse_query_raw(pointer);
      if (result === 0) return null;
      // PgQueryParseResult: parse_tree, stderr_buffer, error.
      const tree = module.HEAPU32[result >>> 2]!;
      const error = module.HEAPU32[(result + 8) >>> 2]!;
      const json = error === 0 && tree !== 0 ? readString(module, tree) : null;
      module._wasm_free_parse_result(result);
      return json;
    });
  }

  /** plpgsql's own tree of one CREATE FUNCTION, CREATE PROCEDURE or DO statement; null as above. */
  parsePlpgsql(statement: Buffer): Tree | null {
    return this.guarded(statement, (module, pointer) => {
      const result = module._wasm_parse_plpgsql(pointer);
      if (result === 0) return null;
      const json = readString(module, result);
      module._wasm_free_string(result);
      // Anything but an object is an error message.
      return json.startsWith('{') ? json : null;
    });
  }

  private guarded(text: Buffer, call: (module: Module, pointer: number) => string | null): Tree | null {
    const { module } = this;
    if (module === null) return null;
    try {
      const pointer = module._malloc(text.length + 1);
      if (pointer === 0) throw new RangeError('out of memory');
      module.HEAPU8.set(text, pointer);
      module.HEAPU8[pointer + text.length] = 0;
      const json = call(module, pointer);
      module._free(pointer);
      const tree = json === null ? null : (JSON.parse(json) as Tree);
      if (module.HEAPU8.length > HEAP_KEPT) this.module = null;
      return tree;
    } catch (error) {
      // A tree that is not JSON (odd bytes in the text) says nothing about the instance.
      if (!(error instanceof SyntaxError)) this.module = null;
      return null;
    }
  }
}

function readString(module: Module, pointer: number): string {
  const heap = module.HEAPU8;
  const end = heap.indexOf(0, pointer);
  return Buffer.from(heap.buffer, heap.byteOffset + pointer, end - pointer).toString('utf8');
}
