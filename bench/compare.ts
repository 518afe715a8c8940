/** One workload on all legs, in alternating rounds. */
import { cpuMicroseconds, type Leg } from './legs.js';
import { percentile } from './table.js';

export interface Measured {
  /** How much was done: requests, connections, megabytes. */
  readonly amount: number;
  readonly seconds: number;
}

/** Medians of one leg over its rounds. */
export interface Result {
  readonly leg: Leg;
  /** Amount a second. */
  readonly rate: number;
  /** CPU time of what stands between client and server per unit of the amount, microseconds. */
  readonly cpu: number;
}

export async function compare(
  legs: readonly Leg[],
  rounds: number,
  measure: (leg: Leg) => Promise<Measured>,
): Promise<Result[]> {
  const all = legs.map((leg) => ({ leg, rates: [] as number[], cpus: [] as number[] }));
  for (let round = 0; round < rounds; round++) {
    for (const { leg, rates, cpus } of all) {
      const before = cpuMicroseconds(leg.pids());
      const { amount, seconds } = await measure(leg);
      rates.push(amount / seconds);
      cpus.push((cpuMicroseconds(leg.pids()) - before) / amount);
    }
  }
  return all.map(({ leg, rates, cpus }) => ({
    leg,
    rate: percentile(rates, 0.5),
    cpu: percentile(cpus, 0.5),
  }));
}

export function headings(legs: readonly Leg[]): string[] {
  return [
    '',
    ...legs.map((leg) => leg.name),
    'proxy/PgBouncer',
    'proxy/direct',
    'CPU µs: PgBouncer',
    'forwarder',
    'proxy',
  ];
}

/** A row under these headings. */
export function row(name: string, results: readonly Result[], digits = 0): string[] {
  const of = (leg: string) => results.find((result) => result.leg.name === leg);
  const ratio = (a: string, b: string) =>
    ((of(a)?.rate ?? Number.NaN) / (of(b)?.rate ?? Number.NaN)).toFixed(2);
  return [
    name,
    ...results.map((result) => result.rate.toFixed(digits)),
    ratio('proxy', 'PgBouncer'),
    ratio('proxy', 'direct'),
    ...['PgBouncer', 'forwarder', 'proxy'].map((leg) => (of(leg)?.cpu ?? Number.NaN).toFixed(1)),
  ].map((cell) => (cell === 'NaN' ? '-' : cell));
}
