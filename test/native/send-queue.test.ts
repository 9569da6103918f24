// What a connection has sent that was acknowledged in half is read by its length, as CRIU expects, with the library beside it.
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { programs } from '../agent/harness.ts';
import { execute } from '../hosts/processes.ts';

const beside = fileURLToPath(new URL('../../build/native/criu-beside.so', import.meta.url));

it('what was acknowledged of a segment that was sent again is not read', async () => {
  const read = async (env: NodeJS.ProcessEnv): Promise<string> => {
    const { code, stdout, stderr } = await execute([`${programs}/half-acked`], { env });
    expect({ code, stderr: stderr.toString() }).toEqual({ code: 0, stderr: '' });
    return stdout.toString();
  };
  // The kernel gives all of the segment, at which CRIU gives up.
  expect(await read({})).toBe('96 192 a\n');
  expect(await read({ LD_PRELOAD: beside })).toBe('96 96 b\n');
});
