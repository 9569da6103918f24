// The ranks themselves as the engine of checkpoints: programs that save their own state, or use what no other engine can dump. They
// are asked while they run (a file `wanted`, the library's callbacks, a signal), each says when it has written what it needs, and
// what they have written is the image. They are brought back by being started anew, where what was saved is put before them. What
// they hold open or are connected to is theirs to have again; it knows nothing of what the files mean.
import { setTimeout as after } from 'node:timers/promises';
import { RankSet } from '../../crds/rank-set.ts';
import { AgentError } from '../agent-error.ts';
import { askAll } from './callbacks.ts';
import type { CheckpointEngine, DumpRequest, Probe, RestoreRequest, SettleRequest } from './engine.ts';
import { putSaves, saidOf, takeSaves, wishSave, withdrawSave } from './own-saves.ts';
import { Image } from './image.ts';

const version = 'application 1';
const lookEveryMs = 10;

export class ApplicationEngine implements CheckpointEngine {
  readonly name = 'application';
  readonly identity = version;
  readonly savesProcesses = false;

  probe(): Promise<Probe> {
    return Promise.resolve({ version, why: '' });
  }

  async settle(request: SettleRequest, signal: AbortSignal): Promise<void> {
    const { saves, owner, number, ranks, initPid, withinMs } = request;
    const began = performance.now();
    const leftMs = (): number => began + withinMs - performance.now();
    if (saves === null)
      throw refusal(
        'the ranks have nowhere to save themselves: the group was started before its checkpointPolicy had engine Application; start it again',
      );
    if (request.tty) throw refusal('a terminal cannot be given back to ranks that are started anew');
    checkThere(ranks());
    await wishSave(saves, number, owner, signal);
    request.signalRanks();
    const heard = await askAll(initPid, number, leftMs(), signal);
    const waiting = new Set(ranks().flatMap(({ rank, pid }) => (heard.includes(pid) ? [] : [rank])));
    for (;;) {
      for (const rank of waiting) {
        const error = saidOf(saves, number, rank);
        if (error === null) continue;
        if (error > 0) throw refusal(`rank ${String(rank)} could not save itself (error ${String(error)})`);
        waiting.delete(rank);
      }
      if (waiting.size === 0) return;
      checkThere(ranks());
      if (leftMs() < 0) throw silence(waiting, withinMs);
      await after(lookEveryMs, undefined, { signal });
    }
  }

  dump({ directory, saves }: DumpRequest): Promise<void> {
    if (saves === undefined) throw new Error('MUSTER_BUG: nowhere to take from what ranks have saved');
    takeSaves(saves.path, new Image(directory, { checkpointUid: '', ordinal: 0 }));
    return Promise.resolve();
  }

  async restore({ directory, saves, whole }: RestoreRequest): Promise<null> {
    await whole;
    if (saves === undefined) throw new Error('MUSTER_BUG: nowhere to put what ranks have saved');
    putSaves(new Image(directory, { checkpointUid: '', ordinal: 0 }), saves.path, saves.owner);
    return null;
  }

  goOn(saves: string | null): void {
    if (saves !== null) withdrawSave(saves);
  }
}

/** Who is started anew has to have been there. */
function checkThere(ranks: ReturnType<SettleRequest['ranks']>): void {
  const ended = ranks.filter(({ running }) => !running).map(({ rank }) => rank);
  if (ended.length > 0)
    throw refusal(
      `ranks ${RankSet.from(ended).toString()} have ended: only a group of which all ranks run can save itself`,
    );
}

function silence(waiting: ReadonlySet<number>, withinMs: number): AgentError {
  const ranks = RankSet.from(waiting).toString();
  return new AgentError(
    'refused',
    'DeadlineExceeded',
    'MUSTER_RANKS_SILENT',
    `ranks ${ranks} have not said within ${String(Math.round(withinMs / 1000))} s that they are saved: a program says so with muster_checkpoint_done, or by copying $MUSTER_CHECKPOINT_DIR/wanted to done.$MUSTER_RANK there`,
  );
}

const refusal = (message: string): AgentError =>
  new AgentError('refused', 'PreflightFailed', 'MUSTER_SELF_SAVE', message);
