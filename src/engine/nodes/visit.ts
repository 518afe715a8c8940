/** One file per type of node; this one chooses. */
import type { Node } from '../graph.js';
import type { Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import type { Walk } from '../walk.js';
import { visitBreak } from './break.js';
import { visitHttp } from './http.js';
import { visitIf } from './if.js';
import { visitJoin } from './join.js';
import { visitLoop } from './loop.js';
import { visitRace } from './race.js';
import { visitSchedule } from './schedule.js';
import { visitSignal } from './signal.js';
import { visitSleep } from './sleep.js';
import { visitSql } from './sql.js';
import { visitThen } from './then.js';

export async function visit(walk: Walk, node: Node, scope: Scope, strand: Strand): Promise<Outcome> {
  switch (node.type) {
    case 'SQL':
      return visitSql(walk, node, scope, strand);
    case 'THEN':
      return visitThen(walk, node, scope, strand);
    case 'IF':
      return visitIf(walk, node, scope, strand);
    case 'JOIN':
      return visitJoin(walk, node, scope, strand);
    case 'RACE':
      return visitRace(walk, node, scope, strand);
    case 'LOOP':
      return visitLoop(walk, node, scope, strand);
    case 'BREAK':
      return visitBreak(walk, node, scope, strand);
    case 'SLEEP':
      return visitSleep(walk, node, scope, strand);
    case 'WAIT_SCHEDULE':
      return visitSchedule(walk, node, scope, strand);
    case 'HTTP':
    case 'HTTP_MULTIPART':
      return visitHttp(walk, node, scope, strand);
    case 'SIGNAL':
      return visitSignal(walk, node, scope, strand);
  }
}
