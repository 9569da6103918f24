/** That the tests themselves end in time, count right and leave nothing: the keeper, and the last line of a run that is cut off. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { execute } from '../hosts/processes.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const keeper = `${checkout}build/programs/keeper`;

describe('the keeper', () => {
  it.each(['0', '1000'])('ends as the command does, with a limit of %s s', async (limit) => {
    expect((await execute([keeper, limit, 'sh', '-c', 'exit 7'])).code).toBe(7);
    expect((await execute([keeper, limit, 'sh', '-c', 'kill -9 $$'])).code).toBe(128 + 9);
    expect((await execute([keeper, limit, '/nowhere'])).code).toBe(127);
  });

  it('ends what a command has left, however detached', async () => {
    const litter = 'sleep 1000 & (setsid sh -c "sleep 1000 & sleep 1000" &); exit 3';
    // All of them hold this pipe: its end, which is waited for, is theirs.
    const { code, stderr } = await execute([keeper, '0', 'bash', '-c', litter]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/ended process \d+, which was left behind: sleep/);
  });

  it('ends a command at its limit, and when a signal asks for it', async () => {
    expect((await execute([keeper, '1', 'sleep', '1000'])).code).toBe(124);
    const child = spawn(keeper, ['0', 'sh', '-c', 'echo; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = new Promise((resolve) => child.once('close', resolve));
    child.stdout.once('data', () => child.kill('SIGTERM'));
    expect(await closed).toBe(124);
  });
});

describe('a run that is cut off', () => {
  it('ends with its counts, and has failed', async () => {
    const { code, stdout } = await execute([`${checkout}scripts/test.sh`, 'test/store/kill'], {
      env: { ...process.env, MUSTER_TEST_SECONDS: '1', MUSTER_TEST_RESULT: '' },
    });
    expect(code).toBe(1);
    expect(stdout.toString()).toMatch(/^tests: 0 passed, [1-9]\d* failed, 0 skipped\n$/m);
  });
});
