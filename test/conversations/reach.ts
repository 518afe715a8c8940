import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import type { Conversation } from './conversation.js';
import type { Transcript } from './talk.js';

/** Every message that a client may send after its login ("Message Formats"), but those of an authentication. */
const CLIENT = [...'BCDEFHPQSXcdf'];
/** Every message that a server sends, but CopyBothResponse, which is for replication, and those of an authentication. */
const SERVER = [...'123ACDEGHIKNSTVZcdnstv'];

/** What conversations have had in them. */
export class Reach {
  readonly #client = new Map<string, number>();
  readonly #server = new Map<string, number>();
  readonly #states = new Map<string, number>();

  note(conversation: Conversation, transcript: Transcript): void {
    for (const turn of conversation.turns) {
      for (const step of turn.steps) {
        for (const bytes of step.send) count(this.#client, String.fromCharCode(bytes[0]!));
      }
    }
    // Every one that does not end otherwise.
    count(this.#client, 'X');
    for (const { type, body } of transcript.flat()) {
      count(this.#server, type);
      if (type === 'E') count(this.#states, fieldText(readFields(body), FieldCode.Code) ?? 'none');
    }
  }

  /** Types of messages that none of the conversations had. */
  missing(): string[] {
    return [
      ...CLIENT.filter((type) => !this.#client.has(type)).map((type) => `${type} of the client`),
      ...SERVER.filter((type) => !this.#server.has(type)).map((type) => `${type} of the server`),
    ];
  }

  /** For a person to read. */
  toString(): string {
    const list = (counts: Map<string, number>) =>
      [...counts]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([type, times]) => `${type} ${times}`)
        .join(', ');
    return `client: ${list(this.#client)}\nserver: ${list(this.#server)}\nerrors: ${list(this.#states)}`;
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
