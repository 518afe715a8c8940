import type { Conversation, Turn } from './conversation.js';
import type { Reach } from './reach.js';
import { readable, readableAnswer } from './readable.js';
import type { Sides } from './sides.js';
import { type Transcript, talk } from './talk.js';

/** What was found: the smallest conversation that still shows it, for a person to read. */
export interface Difference {
  readonly number: number;
  readonly text: string;
}

/** Most conversations held to make a failing one smaller. */
const MAX_TRIALS = 150;

/**
 * Holds the conversation on both sides at the same time; null where the server said the same.
 * @param reach notes what was said directly
 */
export async function compare(
  sides: Sides,
  conversation: Conversation,
  reach?: Reach,
): Promise<Difference | null> {
  const found = await difference(sides, conversation, reach);
  if (found === null) return null;
  const small = await smaller(sides, conversation);
  const shown = (await difference(sides, small)) ?? found;
  const original = small === conversation ? '' : `${found}\n\nThe smallest conversation that shows it:\n`;
  return { number: conversation.number, text: `${original}${readable(small)}\n${shown}` };
}

/** The first thing that is not the same, for a person to read; null if there is none. */
export async function difference(
  sides: Sides,
  conversation: Conversation,
  reach?: Reach,
): Promise<string | null> {
  await sides.reset();
  const [direct, proxied] = await Promise.all([
    talk(sides.direct, conversation),
    talk(sides.proxied, conversation),
  ]);
  reach?.note(conversation, direct);
  const found = firstDifference(conversation, direct, proxied);
  if (found !== null) return found;
  const complaints = sides.complaints();
  return complaints.length > 0 ? `the proxy complained: ${complaints.join('\n')}` : null;
}

function firstDifference(conversation: Conversation, direct: Transcript, proxied: Transcript): string | null {
  for (let turn = 0; turn < Math.max(direct.length, proxied.length); turn++) {
    const left = direct[turn] ?? [];
    const right = proxied[turn] ?? [];
    const at = firstUnequal(left, right);
    const hung = [left, right].find((each) => each.at(-1)?.type === '!');
    if (at < 0 && hung === undefined) continue;
    const name = turn === 0 ? 'login' : (conversation.turns[turn - 1]?.name ?? 'the end');
    const from = Math.max(0, at - 3);
    const some = (answers: typeof left) =>
      answers
        .slice(from, from + 8)
        .map((answer, i) => `    ${from + i} ${readableAnswer(answer)}`)
        .join('\n');
    return `differs in turn ${turn} (${name}) at message ${at}\n  direct:\n${some(left)}\n  proxied:\n${some(right)}`;
  }
  return null;
}

/** Index of the first message that is not the same; -1 where all are. */
function firstUnequal(left: Transcript[number], right: Transcript[number]): number {
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const [a, b] = [left[i], right[i]];
    if (a === undefined || b === undefined || a.type !== b.type || !a.body.equals(b.body)) return i;
  }
  return -1;
}

/** Leaves out turns, then steps, then the chunking, as long as there is a difference. */
async function smaller(sides: Sides, failing: Conversation): Promise<Conversation> {
  let best = failing;
  let trials = 0;
  const attempt = async (candidate: Conversation): Promise<boolean> => {
    if (trials++ >= MAX_TRIALS || (await difference(sides, candidate)) === null) return false;
    best = candidate;
    return true;
  };
  for (let again = true; again; ) {
    again = false;
    for (let i = best.turns.length - 1; i >= 0; i--) {
      if (await attempt({ ...best, turns: best.turns.filter((_, at) => at !== i) })) again = true;
    }
    for (const [i, turn] of best.turns.entries()) {
      if (!turn.loose) continue;
      for (let step = turn.steps.length - 1; step >= 0 && best.turns[i]!.steps.length > 1; step--) {
        const fewer: Turn = { ...best.turns[i]!, steps: best.turns[i]!.steps.filter((_, at) => at !== step) };
        if (await attempt({ ...best, turns: best.turns.with(i, fewer) })) again = true;
      }
    }
    if (trials >= MAX_TRIALS) break;
  }
  await attempt({ ...best, pieces: 0 });
  await attempt({ ...best, startup: {} });
  return best;
}
