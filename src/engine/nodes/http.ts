/**
 * HTTP and HTTP_MULTIPART: a request that leaves the database, and therefore at-least-once: after a crash it is sent
 * again, with the same Idempotency-Key; its result is recorded once. While it is under way the node has no session.
 * Source: df-api §4.12, decisions #19 and #20.
 */
import { decodeBody, preview } from '../../http/body.js';
import type { Request, Response } from '../../http/exchange.js';
import { HttpFailure, shownUrl } from '../../http/failure.js';
import { authorizationOf, type Headers, requestHeaders } from '../../http/headers.js';
import { encodeMultipart } from '../../http/multipart.js';
import { HTTP_FUNCTIONS, type HttpPrivilege } from '../../state/http-privilege.js';
import { storable } from '../failure.js';
import type { HttpNode } from '../graph.js';
import { done, failed, type Outcome } from '../outcome.js';
import { SubstitutionError } from '../reference.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import { TOO_MUCH_KEPT, type Walk } from '../walk.js';
import { type HttpCall, HttpConfigError, httpCall } from './http-config.js';

const METHODS = {
  HTTP: ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'],
  HTTP_MULTIPART: ['POST', 'PUT', 'PATCH'],
} as const;
/** Instances that wait for a slot in memory, per slot; more are given back. */
const WAITING_PER_SLOT = 4;

export async function visitHttp(walk: Walk, node: HttpNode, scope: Scope, strand: Strand): Promise<Outcome> {
  strand.work += 1;
  const stamp = scope.stamp;
  const record = walk.journal.find(node.id, stamp);
  if (record?.kind === 'c') return done(record.value ?? 'null');
  if (record?.kind === 'f') return failed(record.value ?? '');

  const answered = await attempt(walk, node, scope, strand);
  const fits = answered.kind === 'failed' || walk.hasRoomFor(answered.result.text);
  const outcome = fits ? answered : failed(`Failed to keep the response: ${TOO_MUCH_KEPT}`);
  const value = outcome.kind === 'failed' ? outcome.error : outcome.result.text;
  strand.push({ node: node.id, stamp, kind: outcome.kind === 'failed' ? 'f' : 'c', value, due: null });
  // until this is written a crash sends the request again
  strand.isAhead();
  return outcome;
}

async function attempt(walk: Walk, node: HttpNode, scope: Scope, strand: Strand) {
  try {
    const call = httpCall(node, walk.bindings(scope));
    if (walk.leaving) await walk.waiting.yieldSlot(strand);
    await waitForRoom(walk, strand);
    return await walk.waiting.outside(strand, async (signal) => {
      const { slots } = walk.context.outbound;
      const slot = walk.instance.roleId ?? '';
      await slots.enter(slot, signal);
      try {
        walk.waiting.leaveNow(); // it may have waited long
        await checkPrivilege(walk, node);
        strand.stepSince = performance.now();
        const login = authorizationOf(walk.context.outbound.judge(call.url));
        const request = buildRequest(walk, node, call, scope, login);
        return toResult(node, request, await walk.context.outbound.send(request, signal));
      } finally {
        strand.stepSince = null;
        slots.leave(slot);
      }
    });
  } catch (error) {
    if (
      error instanceof HttpFailure ||
      error instanceof HttpConfigError ||
      error instanceof SubstitutionError
    ) {
      return failed(storable(error.message));
    }
    throw error;
  }
}

/** When more instances wait for a slot than should be held in memory, this one is given back for a while. */
async function waitForRoom(walk: Walk, strand: Strand): Promise<void> {
  const { slots } = walk.context.outbound;
  if (slots.hasRoom(walk.instance.roleId ?? '', WAITING_PER_SLOT)) return;
  await walk.waiting.standAside(strand, slots.turnAway());
}

/** @throws HttpFailure when the role may not, now; the walk is halted when that cannot be found out */
async function checkPrivilege(walk: Walk, { type }: HttpNode): Promise<void> {
  const { roleId, graph } = walk.instance;
  const name = walk.instance.role ?? graph.role;
  const privilege: HttpPrivilege =
    roleId === null ? { kind: 'dropped' } : await walk.ask(walk.context.httpPrivileges.of(roleId, type));
  if (privilege.kind === 'dropped') {
    throw new HttpFailure(`HTTP privilege check failed for role '${name}': role "${name}" does not exist`);
  }
  if (privilege.kind === 'refused') {
    const signature = HTTP_FUNCTIONS[type];
    const purpose = type === 'HTTP' ? 'HTTP' : 'multipart HTTP';
    throw new HttpFailure(
      `Blocked: role '${privilege.role}' does not have EXECUTE privilege on ${signature.split('(')[0]}(). Grant EXECUTE ON FUNCTION ${signature} TO ${privilege.role} to allow ${purpose} requests.`,
    );
  }
}

function buildRequest(
  walk: Walk,
  node: HttpNode,
  call: HttpCall,
  scope: Scope,
  login: string | null,
): Request {
  const { url, content, timeoutSeconds } = call;
  const method = METHODS[node.type].find((one) => one === call.method);
  if (method === undefined) {
    const what = node.type === 'HTTP' ? 'Unsupported HTTP method' : 'Unsupported HTTP method for multipart';
    throw new HttpFailure(`${what}: ${call.method}`);
  }
  const added: Array<[string, string]> = [
    ['Accept', '*/*'],
    ['User-Agent', walk.context.outbound.userAgent],
    ['Idempotency-Key', `${walk.instance.id}:${node.id}:${scope.generations}`],
  ];
  if (login !== null) added.push(['Authorization', login]);
  const what = `HTTP request failed: ${shownUrl(url)}`;
  if (content.kind === 'body') {
    return {
      url,
      method,
      headers: requestHeaders(call.headers, added, what),
      body: content.body,
      timeoutSeconds,
      role: walk.instance.roleId ?? '',
    };
  }
  const { body, contentType } = encodeMultipart(content.parts);
  const others: Headers = call.headers.filter(([name]) => name.toLowerCase() !== 'content-type');
  added.push(['Content-Type', contentType]);
  return {
    url,
    method,
    headers: requestHeaders(others, added, what),
    body,
    timeoutSeconds,
    role: walk.instance.roleId ?? '',
  };
}

function toResult(
  { type }: HttpNode,
  request: Request,
  response: Response,
): Outcome & { kind: 'done' | 'failed' } {
  const { status, headers, durationMs, isWhole } = response;
  const body = decodeBody(response.body, response.contentType);
  if (status >= 500) {
    const url = shownUrl(request.url);
    return failed(storable(`${type} ${request.method} ${url} returned ${status}: ${preview(body, isWhole)}`));
  }
  const names = [...headers].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return done(
    `{"status":${status},"body":${JSON.stringify(body.text)},"encoding":"${body.encoding}",` +
      `"headers":{${names.join(',')}},"ok":${status >= 200 && status < 300},"duration_ms":${durationMs}}`,
  );
}
