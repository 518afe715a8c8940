import { protocolVersion } from '../../src/wire/startup.js';
import { Dice } from '../chaos/dice.js';
import type { Conversation } from './conversation.js';
import { LAST, RARE_TURNS, TURNS } from './turns.js';

const STARTUPS: readonly Record<string, string>[] = [
  {},
  {},
  { application_name: '' },
  { application_name: 'talk', DateStyle: 'SQL, DMY' },
  { options: '-c extra_float_digits=1 -c work_mem=1234' },
  { options: '--work-mem=1234', TimeZone: 'Europe/Paris' },
  { '_pq_.unheard_of': 'x' },
];

/** With these the server ends the login, before or after it has asked for the password. */
const REFUSED: readonly Record<string, string>[] = [
  { database: 'no_such_database' },
  { database: 'template0' },
  { user: 'no_such_role' },
  { options: '-c work_mem=little' },
  { options: '-c no_such_setting=1' },
  { options: '--unknown' },
  { TimeZone: 'Nowhere/Land' },
  { client_encoding: 'KLINGON' },
  { replication: 'perhaps' },
  { replication: 'true' },
];

/** The number-th conversation of a seed; the same each time. */
export function conversation(seed: number, number: number): Conversation {
  const dice = new Dice(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) + number);
  const startup = { ...dice.pick(STARTUPS)! };
  if (dice.once(6)) startup.client_encoding = dice.pick(['LATIN1', 'SQL_ASCII', 'EUC_JP'])!;
  if (dice.once(8)) startup.options = '-c standard_conforming_strings=off';
  // In this encoding errors in the code of a DO block quote the qualified operators.
  const dsl = startup.client_encoding !== 'EUC_JP' && !dice.once(8);
  if (dice.once(25)) Object.assign(startup, dice.pick(REFUSED)!);
  const mood = { dice, dsl };
  const turns = Array.from({ length: dice.between(1, 6) }, () =>
    dice.once(10) ? dice.pick(RARE_TURNS)!(mood) : dice.pick(TURNS)!(mood),
  );
  if (dice.once(12)) turns.push(dice.pick(LAST)!());
  return {
    number,
    startup,
    protocol: dice.once(6) ? protocolVersion(3, dice.pick([2, 1, 9])!) : protocolVersion(3, 0),
    pieces: dice.pick([0, 0, 0, 1, 7, 60, 2000])!,
    turns,
  };
}
