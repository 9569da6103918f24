// The PMI-1 server for the ranks of one sandbox, as an engine: bytes in, actions out (see action.ts).
//
// It is fed what was peeked of a rank's request stream, from the first unconsumed byte on, as often as one likes: a
// request stays in the stream until pid 1 consumes it together with writing its reply. So an engine that is lost
// loses nothing: a new one gets the journal's notes, is shown the same unread bytes, and goes on.
// One request of a rank at a time. Nothing a rank sends makes it throw: a bad request gets an error reply and costs
// bounded memory. What fences resulted in it hears from the job's tree (fenceDone, fenceFailed), after a restart again
// from the first; until then a get that finds nothing waits instead of denying.
// This file is long because it is the table of all requests; what they need (fences, puts, spawn, replies) is elsewhere.
import type { Delta } from '../kvs.ts';
import type { PmiAction, PmiOrder, PmiQuestion, PmiResult } from './action.ts';
import { deadRankOf, deathText } from './fence-death.ts';
import { GroupSpace, type FenceEnd } from './group-space.ts';
import { noteOf, notesOf, putNote, type PmiNote } from './journal.ts';
import { commandOf, fieldOf, fits, integerOf, refusalOf } from './line.ts';
import { LocalFence } from './local-fence.ts';
import { maxesOf, type PmiMaxes } from './maxes.ts';
import { RankState, type Waiting } from './rank.ts';
import {
  barrierOut,
  finalizeAck,
  initDone,
  initRefused,
  initackOf,
  maxesReplyOf,
  notFound,
  putDone,
  replyTo,
  singinitOf,
} from './reply.ts';
import { defaultLimits, type PmiLimits, type PmiShape, type PmiSnapshot } from './shape.ts';
import { replaySpawn, spawnStepOf } from './spawn-stream.ts';
import { SpawnReader } from './spawn.ts';

export type { PmiLimits, PmiShape, PmiSnapshot } from './shape.ts';

const tokensPerRank = 2 ** 32;
const newline = 10;

export class PmiServer {
  readonly #shape: PmiShape;
  readonly #limits: PmiLimits;
  readonly #maxes: PmiMaxes;
  readonly #ranks = new Map<number, RankState>();
  readonly #space: GroupSpace;
  readonly #fence: LocalFence;
  readonly #dead = new Set<number>();
  readonly #getStart: string;
  readonly #putStart: string;

  /** `journal`: all notes of this sandbox so far. */
  constructor(shape: PmiShape, journal: Buffer = Buffer.alloc(0)) {
    this.#shape = shape;
    this.#limits = { ...defaultLimits, ...shape.limits };
    this.#maxes = maxesOf(shape.kvsname);
    this.#getStart = `cmd=get kvsname=${shape.kvsname} key=`;
    this.#putStart = `cmd=put kvsname=${shape.kvsname} key=`;
    const attributes = new Map(shape.preputs);
    if (shape.mapping !== null) attributes.set('PMI_process_mapping', shape.mapping);
    if (shape.universeSize !== null) attributes.set('universeSize', String(shape.universeSize));
    this.#space = new GroupSpace(this.#limits.bytesPerGroup, attributes);
    for (const rank of shape.ranks) this.#ranks.set(rank, new RankState(rank));
    for (const note of notesOf(journal).notes) this.#replay(note);
    this.#fence = new LocalFence(this.#ranks.values());
  }

  /** What the journal says of past fences, for the job's tree. To be called once, before anything else. */
  start(): PmiAction[] {
    const actions: PmiAction[] = [];
    for (let fence = 1; fence <= this.#fence.contributed; fence++) {
      const message = this.#space.failureOf(fence);
      if (message === undefined)
        actions.push({ kind: 'fence', fence, puts: this.#space.contributionTo(fence) });
      else actions.push({ kind: 'fenceFailed', fence, message });
    }
    return this.#sayAbsent(actions);
  }

  /** All unread bytes of a rank, from its first unconsumed one on. */
  receive(rank: number, bytes: Buffer): PmiAction[] {
    const state = this.#ranks.get(rank);
    if (state === undefined) {
      throw new Error(`MUSTER_BUG: rank ${String(rank)} is not of this sandbox; expected one of its ranks`);
    }
    if (state.ordered) return [{ kind: 'wait', rank, until: 'order' }];
    if (state.waiting !== null) return [{ kind: 'wait', rank, until: state.waiting.until }];
    const end = bytes.indexOf(newline);
    if (state.skipping) return this.#skip(state, bytes, end);
    if (
      state.spawn !== null ||
      (bytes[0] === 0x6d && end >= 0 && bytes.toString('latin1', 0, 5) === 'mcmd=')
    ) {
      return this.#receiveSpawn(state, bytes);
    }
    if (end < 0) {
      if (bytes.length <= this.#limits.lineBytes) return [{ kind: 'wait', rank, until: 'bytes' }];
      state.skipping = true;
      return this.#bad(state, bytes.length, 'error', 'line too long', noteOf('skip', rank));
    }
    const consume = end + 1;
    if (end > this.#limits.lineBytes) return this.#bad(state, consume, 'error', 'line too long');
    return this.#request(state, bytes.toString('latin1', 0, end), consume);
  }

  /** The order of this rank was carried out; what is unread now may be received. */
  carriedOut(rank: number): void {
    const state = this.#ranks.get(rank);
    if (state !== undefined) state.ordered = false;
  }

  /** All puts of a fence, in as many parts as one likes. Fences may be told again, and in any order. */
  fenceDone(fence: number, puts: readonly Delta[]): PmiAction[] {
    return this.#outcome(fence, puts);
  }

  fenceFailed(fence: number, message: string): PmiAction[] {
    return this.#outcome(fence, { failed: message });
  }

  /** The answer to a question. One that nobody asks any more is dropped. */
  answered(token: number, result: PmiResult): PmiAction[] {
    const state = this.#ranks.get(Math.floor(token / tokensPerRank));
    const waiting = state?.waiting;
    if (state === undefined || waiting?.until !== 'answer' || waiting.token !== token) return [];
    state.asked++;
    state.spawn = null;
    return this.#answer(
      state,
      waiting.consume,
      replyTo(waiting.about, result),
      noteOf('answered', state.rank),
    );
  }

  /**
   * The rank ended. All it had sent must have been received before. `succeeded`: its end counts as a success, as that of a
   * program without MPI does, so nobody ends the group for it unless others wait for it in a fence.
   */
  rankGone(rank: number, finalized: boolean, succeeded = false): PmiAction[] {
    const state = this.#ranks.get(rank);
    if (state === undefined || state.gone) return [];
    const clean = finalized || state.finalized;
    this.#fence.leave(state);
    state.gone = true;
    state.waiting = null;
    if (clean) return this.#advance([]);
    this.#dead.add(rank);
    if (this.#shape.onRankDeath === 'Abort' && !succeeded) {
      this.#fence.block();
      return [];
    }
    const fence = this.#fence.failBy(state, (past) => this.#space.failureOf(past) !== undefined);
    if (fence === null) return this.#advance([]);
    return this.#sayAbsent([{ kind: 'fenceFailed', fence, message: deathText(rank, fence) }]);
  }

  /** Dead ranks of other sandboxes, for the attribute PMI_dead_processes. */
  noteDead(ranks: Iterable<number>): void {
    for (const rank of ranks) this.#dead.add(rank);
  }

  /** Whether this rank spoke PMI at all, and ended it well. */
  stateOf(rank: number): { initialized: boolean; finalized: boolean; fences: number } | null {
    const state = this.#ranks.get(rank);
    if (state === undefined) return null;
    return { initialized: state.initialized, finalized: state.finalized, fences: state.fences };
  }

  snapshot(): PmiSnapshot {
    const waiting = [...this.#ranks.values()].filter((state) => state.waiting !== null);
    return {
      known: this.#space.known,
      contributed: this.#fence.contributed,
      pairs: this.#space.pairs,
      bytes: this.#space.bytes,
      waiting: waiting.map((state) => state.rank),
      dead: [...this.#dead].sort((a, b) => a - b),
    };
  }

  #request(state: RankState, line: string, consume: number): PmiAction[] {
    const { length } = this.#getStart;
    if (line.length > length && line.startsWith(this.#getStart) && !line.includes(' ', length)) {
      return this.#get(state, line.slice(length), consume);
    }
    if (line.startsWith(this.#putStart)) {
      const keyAt = this.#putStart.length;
      const keyEnd = line.indexOf(' value=', keyAt);
      const valueAt = keyEnd + 7;
      if (keyEnd > 0 && line.indexOf(' ', keyAt) === keyEnd && !line.includes(' ', valueAt)) {
        return this.#put(state, line.slice(keyAt, keyEnd), line.slice(valueAt), consume);
      }
    }
    const { rank } = state;
    const { kvsname, universeSize, appnumOf } = this.#shape;
    const command = commandOf(line);
    switch (command) {
      case 'barrier_in':
        return this.#barrier(state, line, consume);
      case 'get':
        return this.#getSlowly(state, line, consume);
      case 'put':
        return this.#putSlowly(state, line, consume);
      case 'initack':
        return this.#initack(state, line, consume);
      case 'init':
        return this.#init(state, line, consume);
      case 'get_maxes':
        return this.#answer(state, consume, maxesReplyOf(this.#maxes), null);
      case 'get_appnum':
        return this.#answer(state, consume, `cmd=appnum appnum=${String(appnumOf(rank))}\n`, null);
      case 'get_my_kvsname':
        return this.#answer(state, consume, `cmd=my_kvsname kvsname=${kvsname}\n`, null);
      case 'get_universe_size':
        return this.#answer(state, consume, `cmd=universe_size size=${String(universeSize ?? -1)}\n`, null);
      case 'finalize':
        return this.#finalize(state, consume);
      case 'abort':
        return this.#abort(state, line);
      case 'publish_name':
      case 'lookup_name':
      case 'unpublish_name':
        return this.#name(state, command, line, consume);
      case 'singinit':
        return this.#answer(state, consume, singinitOf(kvsname), null);
      case 'create_kvs':
        return this.#bad(state, consume, 'newkvs', 'create_kvs is not supported');
      case 'destroy_kvs':
        return this.#bad(state, consume, 'kvs_destroyed', 'destroy_kvs is not supported');
      case 'getbyidx':
        return this.#bad(state, consume, 'getbyidx_results', 'getbyidx is not supported');
      case null:
        return this.#bad(state, consume, 'error', 'not a pmi request');
      default:
        return this.#bad(state, consume, 'error', `unknown command ${command.slice(0, 64)}`);
    }
  }

  #answer(state: RankState, consume: number, reply: string, note: Buffer | null): PmiAction[] {
    state.waiting = null;
    state.ordered = true;
    return [{ kind: 'answer', rank: state.rank, consume, reply, note }];
  }

  #bad(
    state: RankState,
    consume: number,
    reply: string,
    reason: string,
    note: Buffer | null = null,
  ): PmiAction[] {
    const rest = reply === 'get_result' ? ' value=unknown' : '';
    return this.#badOrder(
      state,
      { rank: state.rank, consume, reply: refusalOf(reply, reason, rest), note },
      reason,
    );
  }

  #badOrder(state: RankState, order: PmiOrder, reason: string): PmiAction[] {
    state.waiting = null;
    state.ordered = true;
    return [{ kind: 'bad', ...order, reason }];
  }

  #wait(state: RankState, waiting: Waiting): PmiAction[] {
    state.waiting = waiting;
    return [{ kind: 'wait', rank: state.rank, until: waiting.until }];
  }

  #skip(state: RankState, bytes: Buffer, end: number): PmiAction[] {
    if (bytes.length === 0) return [{ kind: 'wait', rank: state.rank, until: 'bytes' }];
    if (end < 0) return this.#answer(state, bytes.length, '', null);
    state.skipping = false;
    return this.#answer(state, end + 1, '', noteOf('skipped', state.rank));
  }

  #initack(state: RankState, line: string, consume: number): PmiAction[] {
    if (integerOf(fieldOf(line, ' pmiid=')) !== state.rank) {
      return this.#bad(state, consume, 'initack', 'pmiid is not the rank of this connection');
    }
    return this.#answer(state, consume, initackOf(this.#shape.size, state.rank), null);
  }

  #init(state: RankState, line: string, consume: number): PmiAction[] {
    if (fieldOf(line, ' pmi_version=') !== '1') {
      return this.#badOrder(
        state,
        { rank: state.rank, consume, reply: initRefused, note: null },
        'pmi_version is not 1',
      );
    }
    state.initialized = true;
    return this.#answer(state, consume, initDone, noteOf('init', state.rank));
  }

  #get(state: RankState, key: string, consume: number): PmiAction[] {
    const value = this.#valueOf(key);
    if (value !== undefined) {
      const reply = `cmd=get_result rc=0 msg=success value=${value}\n`;
      if (fits(reply)) return this.#answer(state, consume, reply, null);
      return this.#bad(state, consume, 'get_result', 'value does not fit in a line');
    }
    if (this.#space.known < state.fences) return this.#wait(state, { until: 'restored', consume, key });
    return this.#answer(state, consume, notFound(`key ${key.slice(0, this.#maxes.key)}`), null);
  }

  #valueOf(key: string): string | undefined {
    const value = this.#space.get(key);
    if (value !== undefined || key !== 'PMI_dead_processes' || this.#dead.size === 0) return value;
    return this.#deadProcesses();
  }

  #deadProcesses(): string {
    let list = '';
    for (const rank of [...this.#dead].sort((a, b) => a - b)) {
      const next = list === '' ? String(rank) : `${list},${String(rank)}`;
      if (next.length >= this.#maxes.value) break;
      list = next;
    }
    return list;
  }

  #getSlowly(state: RankState, line: string, consume: number): PmiAction[] {
    const key = fieldOf(line, ' key=');
    if (key === undefined || key === '') return this.#bad(state, consume, 'get_result', 'key is missing');
    const kvsname = fieldOf(line, ' kvsname=');
    if (kvsname === undefined) return this.#bad(state, consume, 'get_result', 'kvsname is missing');
    if (kvsname !== this.#shape.kvsname) {
      return this.#answer(state, consume, notFound(`kvsname ${kvsname.slice(0, 64)}`), null);
    }
    return this.#get(state, key, consume);
  }

  #put(state: RankState, key: string, value: string, consume: number): PmiAction[] {
    const { rank } = state;
    if (key.length === 0 && value.length === 0) {
      // A process that started alone puts its card, which may be empty.
      return this.#answer(state, consume, putDone, null);
    }
    const bytes = key.length + value.length;
    if (key.length === 0 || key.length > this.#maxes.key) {
      return this.#bad(state, consume, 'put_result', `key length is not 1 to ${String(this.#maxes.key)}`);
    }
    if (value.length > this.#maxes.value) {
      return this.#bad(state, consume, 'put_result', `value is longer than ${String(this.#maxes.value)}`);
    }
    if (state.putBytes + bytes > this.#limits.putBytesPerRank) {
      return this.#bad(
        state,
        consume,
        'put_result',
        `the rank put more than ${String(this.#limits.putBytesPerRank)} bytes`,
      );
    }
    if (!this.#space.hasRoomFor(bytes)) {
      return this.#bad(
        state,
        consume,
        'put_result',
        `the group put more than ${String(this.#limits.bytesPerGroup)} bytes`,
      );
    }
    const fence = state.fences + 1;
    const note = this.#keep(state, fence, key, value) ? putNote(rank, fence, key, value) : null;
    return this.#answer(state, consume, putDone, note);
  }

  #putSlowly(state: RankState, line: string, consume: number): PmiAction[] {
    const key = fieldOf(line, ' key=');
    const value = fieldOf(line, ' value=');
    if (fieldOf(line, ' kvsname=') !== this.#shape.kvsname) {
      return this.#bad(state, consume, 'put_result', 'kvsname is not that of the group');
    }
    if (key === undefined) return this.#bad(state, consume, 'put_result', 'key is missing');
    if (value === undefined) return this.#bad(state, consume, 'put_result', 'value is missing');
    return this.#put(state, key, value, consume);
  }

  /** Keeps a put for its fence; of two with one key the first stands. */
  #keep(state: RankState, fence: number, key: string, value: string): boolean {
    if (!this.#space.keep(fence, key, value)) return false;
    state.putBytes += key.length + value.length;
    return true;
  }

  #barrier(state: RankState, line: string, consume: number): PmiAction[] {
    const group = fieldOf(line, ' group=');
    if (group !== undefined && group !== 'WORLD') {
      return this.#bad(state, consume, 'barrier_out', 'only the whole group can enter a barrier');
    }
    const fence = state.fences + 1;
    if (fence <= this.#space.known) return this.#release(state, fence, consume);
    const waits = this.#wait(state, { until: 'fence', consume });
    this.#fence.enter(state, fence);
    return this.#advance(waits);
  }

  #release(state: RankState, fence: number, consume: number): PmiAction[] {
    const message = this.#space.failureOf(fence);
    if (message !== undefined && this.#shape.onRankDeath === 'Abort') {
      state.waiting = { until: 'fence', consume };
      return [{ kind: 'broken', rank: state.rank, fence, dead: deadRankOf(message), message }];
    }
    state.fences = fence;
    if (message === undefined) {
      return this.#answer(state, consume, barrierOut, noteOf('released', state.rank, fence));
    }
    return this.#answer(
      state,
      consume,
      refusalOf('barrier_out', message),
      noteOf('failed', state.rank, fence),
    );
  }

  /** Contributes to the next fence when all local ranks that take part have entered it. */
  #advance(actions: PmiAction[]): PmiAction[] {
    const fence = this.#fence.ready();
    if (fence !== null) actions.push({ kind: 'fence', fence, puts: this.#space.contributionTo(fence) });
    return this.#sayAbsent(actions);
  }

  #sayAbsent(actions: PmiAction[]): PmiAction[] {
    const fence = this.#fence.absentFrom();
    if (fence !== null) actions.push({ kind: 'absent', fence });
    return actions;
  }

  #outcome(fence: number, end: FenceEnd): PmiAction[] {
    const actions: PmiAction[] = [];
    for (const learnt of this.#space.learn(fence, end)) {
      this.#fence.overtaken(learnt);
      for (const state of this.#ranks.values()) this.#wake(state, learnt, actions);
    }
    return actions;
  }

  /** Answers what a rank has waited with for the outcome of this fence. */
  #wake(state: RankState, fence: number, actions: PmiAction[]): void {
    const { waiting } = state;
    if (waiting?.until === 'fence' && state.fences + 1 === fence) {
      actions.push(...this.#release(state, fence, waiting.consume));
    } else if (waiting?.until === 'restored' && state.fences <= fence) {
      state.waiting = null;
      actions.push(...this.#get(state, waiting.key, waiting.consume));
    }
  }

  #finalize(state: RankState, consume: number): PmiAction[] {
    this.#fence.leave(state);
    state.finalized = true;
    return this.#advance(this.#answer(state, consume, finalizeAck, noteOf('finalize', state.rank)));
  }

  #abort(state: RankState, line: string): PmiAction[] {
    if (state.aborted) return [{ kind: 'wait', rank: state.rank, until: 'order' }];
    state.aborted = true;
    const exitCode = (integerOf(fieldOf(line, ' exitcode=')) ?? 1) & 255;
    const at = line.indexOf(' message=');
    const message = at < 0 ? '' : line.slice(at + 9, at + 9 + 1024);
    return [{ kind: 'abort', rank: state.rank, exitCode, message }];
  }

  #name(
    state: RankState,
    command: 'publish_name' | 'lookup_name' | 'unpublish_name',
    line: string,
    consume: number,
  ): PmiAction[] {
    const service = fieldOf(line, ' service=');
    const port = fieldOf(line, ' port=');
    const about = command === 'publish_name' ? 'publish' : command === 'lookup_name' ? 'lookup' : 'unpublish';
    if (service === undefined || service === '')
      return this.#bad(state, consume, `${about}_result`, 'service is missing');
    if (about !== 'publish') return this.#ask(state, { kind: about, service }, consume);
    if (port === undefined) return this.#bad(state, consume, 'publish_result', 'port is missing');
    return this.#ask(state, { kind: about, service, port }, consume);
  }

  #ask(state: RankState, question: PmiQuestion, consume: number): PmiAction[] {
    const token = state.rank * tokensPerRank + state.asked;
    state.waiting = { until: 'answer', consume, token, about: question.kind };
    return [{ kind: 'ask', rank: state.rank, token, question }];
  }

  #receiveSpawn(state: RankState, bytes: Buffer): PmiAction[] {
    const { rank } = state;
    const step = spawnStepOf((state.spawn ??= this.#spawnReader()), rank, bytes);
    switch (step.kind) {
      case 'wait':
        return [{ kind: 'wait', rank, until: 'bytes' }];
      case 'part':
        state.skipping = step.skipping;
        return this.#answer(state, step.consume, '', step.note);
      case 'whole':
        return this.#ask(state, { kind: 'spawn', spawn: step.spawn }, step.consume);
      case 'refused': {
        state.spawn = null;
        state.asked++;
        const note = noteOf('answered', rank);
        if (this.#shape.spawnEnabled)
          return this.#bad(state, step.consume, 'spawn_result', step.reason, note);
        return this.#answer(state, step.consume, refusalOf('spawn_result', step.reason), note);
      }
    }
  }

  #spawnReader(): SpawnReader {
    return new SpawnReader(
      this.#limits.spawn,
      this.#shape.spawnEnabled ? null : 'spawn is not enabled for this group',
    );
  }

  #replay(note: PmiNote): void {
    const state = this.#ranks.get(note.rank);
    if (state === undefined) return;
    switch (note.kind) {
      case 'init':
        state.initialized = true;
        return;
      case 'put':
        this.#keep(state, note.fence, note.key, note.value);
        return;
      case 'failed':
        this.#space.noteFailure(note.fence, 'a rank died in or before this fence');
        state.fences = state.entered = Math.max(state.fences, note.fence);
        return;
      case 'released':
        state.fences = state.entered = Math.max(state.fences, note.fence);
        return;
      case 'finalize':
        state.finalized = true;
        return;
      case 'skip':
      case 'skipped':
        state.skipping = note.kind === 'skip';
        return;
      case 'answered':
        state.asked++;
        state.spawn = null;
        return;
      case 'spawnRefused':
        (state.spawn ??= this.#spawnReader()).refuse(note.reason);
        return;
      case 'spawn':
        replaySpawn((state.spawn ??= this.#spawnReader()), note.text);
        return;
    }
  }
}
