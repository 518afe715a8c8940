import { setFlagsFromString } from 'node:v8';

/**
 * Every chunk of a stream that passes is an ArrayBuffer. V8 frees dead ones on a thread of its own, and in a process that
 * does little else to wake that thread costs more than to free them: of the CPU time of a COPY a quarter. The flag is
 * read whenever V8 frees them, so it may be set while the process runs.
 */
export function freeChunksInPlace(): void {
  setFlagsFromString('--no-concurrent-array-buffer-sweeping');
}
