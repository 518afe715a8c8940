/** Passwords in environment variables: `PG_DURABLE_PASSWORD_` and the role in capitals, other signs as `_`. */
import type { PasswordSource, Wanted } from './source.js';

export const PASSWORD_PREFIX = 'PG_DURABLE_PASSWORD_';

/** `app-user` and `App_User` both become `PG_DURABLE_PASSWORD_APP_USER`. */
export function passwordVariable(role: string): string {
  return PASSWORD_PREFIX + role.replace(/[^A-Za-z0-9]/gu, '_').toUpperCase();
}

/**
 * One variable can stand for several roles. A password must never be tried for another role than the one it was meant
 * for, so where more than one role of the server has the variable's name it is used for none of them.
 */
export class EnvironmentPasswords implements PasswordSource {
  readonly name = 'the environment';
  readonly #variables: ReadonlyMap<string, string>;
  readonly #others: (role: string) => Promise<readonly string[]>;
  readonly #warn: (text: string) => void;
  readonly #warned = new Set<string>();

  /**
   * @param variables by name
   * @param others the roles of the server whose variable is the role's, itself left out
   */
  constructor(
    variables: ReadonlyMap<string, string>,
    others: (role: string) => Promise<readonly string[]>,
    warn: (text: string) => void,
  ) {
    this.#variables = variables;
    this.#others = others;
    this.#warn = warn;
  }

  mayHave(role: string): boolean {
    return this.#variables.has(passwordVariable(role));
  }

  async find({ role }: Wanted): Promise<string | undefined> {
    const variable = passwordVariable(role);
    const password = this.#variables.get(variable);
    if (password === undefined) return undefined;
    const others = await this.#others(role);
    if (others.length === 0) return password;
    if (!this.#warned.has(variable)) {
      this.#warned.add(variable);
      const names = [role, ...others].map((name) => `"${name}"`).join(', ');
      this.#warn(`${variable} is not used: it could be meant for any of the roles ${names}`);
    }
    return undefined;
  }

  refused(): boolean {
    return false;
  }

  async stamp(): Promise<string> {
    return '';
  }
}
