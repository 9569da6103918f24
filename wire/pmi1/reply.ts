// The replies of PMI-1, each whole with its newline and short enough for the line a client can read.
import type { PmiQuestion, PmiResult } from './action.ts';
import { fits, refusalOf, wordOf } from './line.ts';
import type { PmiMaxes } from './maxes.ts';

export const putDone = 'cmd=put_result rc=0 msg=success\n';
export const barrierOut = 'cmd=barrier_out\n';
export const finalizeAck = 'cmd=finalize_ack\n';
export const initDone = 'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n';
export const initRefused = 'cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1\n';

export function initackOf(size: number, rank: number): string {
  return `cmd=initack\ncmd=set size=${String(size)}\ncmd=set rank=${String(rank)}\ncmd=set debug=0\n`;
}

export function maxesReplyOf({ kvsname, key, value }: PmiMaxes): string {
  return `cmd=maxes kvsname_max=${String(kvsname)} keylen_max=${String(key)} vallen_max=${String(value)}\n`;
}

export function singinitOf(kvsname: string): string {
  return `cmd=singinit_info versionok=yes stdio=no kvsname=${kvsname}\n`;
}

export function notFound(what: string): string {
  return refusalOf('get_result', `${what} not found`, ' value=unknown');
}

/** The reply to a request whose answer had to be asked for. */
export function replyTo(about: PmiQuestion['kind'], result: PmiResult): string {
  const reply = about === 'spawn' ? spawnReply(result) : nameReply(about, result);
  return fits(reply) ? reply : replyTo(about, { ok: false, message: 'answer does not fit in a line' });
}

function spawnReply(result: PmiResult): string {
  if (!result.ok) return refusalOf('spawn_result', result.message);
  return `cmd=spawn_result rc=0${result.value === undefined ? '' : ` errcodes=${result.value}`}\n`;
}

function nameReply(about: 'publish' | 'lookup' | 'unpublish', result: PmiResult): string {
  const info = about === 'lookup' ? '' : ' info=ok';
  if (!result.ok) return `cmd=${about}_result${info} rc=1 msg=${wordOf(result.message)}\n`;
  const port = about === 'lookup' ? ` port=${result.value ?? ''}` : '';
  return `cmd=${about}_result${port} info=ok rc=0 msg=success\n`;
}
