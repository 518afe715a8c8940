/**
 * Questions for the right to make requests, gathered while others are answered and asked together. An answer is never
 * older than its question: who asks while a statement is under way is in the next one.
 */
import type { HttpKind, HttpPrivilege } from '../state/http-privilege.js';

interface Question {
  readonly roleId: string;
  readonly kind: HttpKind;
  readonly answer: Promise<HttpPrivilege>;
  readonly resolve: (privilege: HttpPrivilege) => void;
  readonly reject: (error: unknown) => void;
}

type Ask = (
  asked: ReadonlyArray<{ readonly roleId: string; readonly kind: HttpKind }>,
) => Promise<HttpPrivilege[]>;

export class HttpPrivileges {
  readonly #ask: Ask;
  #waiting = new Map<string, Question>();
  #asking = false;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** @throws what the database says */
  of(roleId: string, kind: HttpKind): Promise<HttpPrivilege> {
    const key = `${kind} ${roleId}`;
    let question = this.#waiting.get(key);
    if (question === undefined) {
      let resolve!: Question['resolve'];
      let reject!: Question['reject'];
      const answer = new Promise<HttpPrivilege>((onAnswer, onError) => {
        resolve = onAnswer;
        reject = onError;
      });
      question = { roleId, kind, answer, resolve, reject };
      this.#waiting.set(key, question);
      if (!this.#asking) void this.#run();
    }
    return question.answer;
  }

  async #run(): Promise<void> {
    this.#asking = true;
    await Promise.resolve(); // one turn, so that what is asked together goes together
    while (this.#waiting.size > 0) {
      const questions = [...this.#waiting.values()];
      this.#waiting = new Map();
      try {
        const privileges = await this.#ask(questions);
        for (const [i, question] of questions.entries()) question.resolve(privileges[i] as HttpPrivilege);
      } catch (error) {
        for (const question of questions) question.reject(error);
      }
    }
    this.#asking = false;
  }
}
