/**
 * The dead-man timer of rank-init: it needs nobody to stop ranks whose lease expired, and to kill them at its hard end. Times are
 * short, and only their order is asserted.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { encodeRenewal } from '../../native/addon/abi.ts';
import { eventually, message, readToEnd, Sandbox, type Reply } from './sandbox.ts';

const [unleased, running, stopped, ended] = [0, 1, 2, 3];
const [expired, stale, invalid] = [-127, -116, -22];
const far = 3_600_000;
const sigcont = 18;

/** As CLOCK_BOOTTIME, but for its last hundredth of a second. */
function boottimeNs(): bigint {
  const [whole = '0', hundredths = '0'] = readFileSync('/proc/uptime', 'utf8').split(' ', 1)[0]!.split('.');
  return BigInt(whole) * 1_000_000_000n + BigInt(hundredths) * 10_000_000n;
}

function renew(sandbox: Sandbox, expiresInMs: number, endsInMs: number, epoch = 1): Promise<Reply> {
  const at = (ms: number): bigint => boottimeNs() + BigInt(ms) * 1_000_000n;
  return sandbox.request(message.renew, encodeRenewal(epoch, at(expiresInMs), at(endsInMs)));
}

/** State letters of the processes beside pid 1, as in proc(5). */
function statesIn(sandbox: Sandbox): string[] {
  const children = readFileSync(`/proc/${sandbox.pid}/task/${sandbox.pid}/children`, 'utf8').trim();
  return children
    .split(' ')
    .map((pid) => /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? '');
}

const spinning = { argv: ['sh', '-c', 'while :; do :; done'] };

describe('a lease', () => {
  it('stops ranks when it expires, lets them go on when it is renewed, and kills them at its hard end', async () => {
    await using sandbox = Sandbox.launch();
    expect(sandbox.leaseState).toBe(unleased);
    expect((await renew(sandbox, far, far)).result).toBe(0);
    const { words } = await sandbox.start([spinning, spinning]);
    expect(sandbox.leaseState).toBe(running);

    // Times only grow within an epoch; those of the next one replace them.
    expect((await renew(sandbox, 1, far)).result).toBe(0);
    expect(sandbox.leaseState).toBe(running);
    expect((await renew(sandbox, 100, far, 2)).result).toBe(0);
    expect((await renew(sandbox, far, far, 1)).result).toBe(stale);
    await eventually(() => sandbox.leaseState === stopped, 'expiry');
    await eventually(() => statesIn(sandbox).every((state) => state === 'T'), 'stopped ranks');

    // Nothing runs, whoever asks for it.
    expect((await sandbox.start([spinning], [], 7)).result).toBe(expired);
    expect((await sandbox.signal(1n, sigcont)).result).toBe(expired);
    expect((await sandbox.request(message.stop)).result).toBe(0);
    expect((await sandbox.request(message.continue)).result).toBe(0);
    expect(statesIn(sandbox)).toEqual(['T', 'T']);

    expect((await renew(sandbox, far, far, 2)).result).toBe(0);
    expect(sandbox.leaseState).toBe(running);
    await eventually(() => statesIn(sandbox).every((state) => state === 'R'), 'ranks that go on');

    // A renewal of ranks that were stopped expires like any other.
    expect((await renew(sandbox, 100, far, 3)).result).toBe(0);
    await eventually(() => sandbox.leaseState === stopped, 'expiry');
    expect((await renew(sandbox, 300, far + 1, 3)).result).toBe(0);
    expect(sandbox.leaseState).toBe(running);
    await eventually(() => sandbox.leaseState === stopped, 'another expiry');

    expect((await renew(sandbox, 100, 300, 4)).result).toBe(0);
    for (const slot of words.slice(0, 1).flatMap((first) => [first, first + 1]))
      expect((await sandbox.ended(slot)).waitStatus & 0x7f).toBe(9);
    expect(sandbox.leaseState).toBe(ended);
    expect((await renew(sandbox, far, far, 4)).result).toBe(expired);
    expect((await sandbox.start([spinning], [], 8)).result).toBe(expired);
  });

  it('ends without an agent too', async () => {
    await using sandbox = Sandbox.launch();
    await renew(sandbox, 100, 300);
    const { words } = await sandbox.start([{ ...spinning, stdout: 'pipe' }]);
    const stdout = sandbox.take(sandbox.slot(words[0]!).fdStdout);
    sandbox.abandonControl();
    await readToEnd(stdout);
    expect((await sandbox.ended(words[0]!)).waitStatus & 0x7f).toBe(9);
  });

  it('leaves ranks that the agent holds as they are when it is renewed', async () => {
    await using sandbox = Sandbox.launch();
    await renew(sandbox, 100, far);
    await sandbox.start([spinning]);
    await sandbox.request(message.stop);
    await eventually(() => sandbox.leaseState === stopped, 'expiry');
    await renew(sandbox, far, far);
    expect(sandbox.leaseState).toBe(running);
    expect(statesIn(sandbox)).toEqual(['T']);
    await sandbox.request(message.continue);
    await eventually(() => statesIn(sandbox)[0] === 'R', 'a rank that goes on');
  });

  it('is not taken without times, or without a hard end behind its expiry', async () => {
    await using sandbox = Sandbox.launch();
    expect((await sandbox.request(message.renew, encodeRenewal(1, 0n, 0n))).result).toBe(invalid);
    expect((await renew(sandbox, 2000, 1000)).result).toBe(invalid);
    expect((await sandbox.request(message.renew)).result).toBe(invalid);
    expect(sandbox.leaseState).toBe(unleased);
  });
});
