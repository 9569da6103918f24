import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { refusedFile, type FileDemand } from './file-rights.ts';
import { checkOwner } from './image-rights.ts';

const user = { uid: 4711, gid: 4712, groups: [4713] };
let top: string;

beforeAll(() => {
  top = mkdtempSync(`${realpathSync(tmpdir())}/muster-rights-`);
  chmodSync(top, 0o755);
  const file = (name: string, mode: number, uid: number, gid: number): void => {
    writeFileSync(`${top}/${name}`, '');
    chownSync(`${top}/${name}`, uid, gid);
    chmodSync(`${top}/${name}`, mode);
  };
  file('own', 0o600, user.uid, 0);
  file('own-closed', 0o077, user.uid, 0);
  file('group', 0o060, 0, 4713);
  file('program', 0o111, 0, 0);
  file('secret', 0o600, 0, 0);
  file('read-only', 0o644, 0, 0);
  mkdirSync(`${top}/closed`, { mode: 0o700 });
  file('closed/open', 0o666, 0, 0);
  symlinkSync(`${top}/own`, `${top}/link`);
});

afterAll(() => {
  rmSync(top, { recursive: true, force: true });
});

test.each([
  ['own', 'both', null], ['own-closed', 'read', 'reading'], ['group', 'both', null], ['program', 'read', null],
  ['program', 'write', 'writing'], ['secret', 'read', 'reading'], ['read-only', 'read', null], ['read-only', 'both', 'reading and writing'],
  ['closed/open', 'read', 'reading'], ['link', 'read', 'behind a link'], ['new', 'make', 'a new name'], ['not/there', 'read', null],
] as const)('%s is opened for %s: %s', async (name, use: FileDemand['use'], said) => {
  const refused = await refusedFile([{ path: `${top}/${name}`, shown: name, use }], user, AbortSignal.timeout(10_000));
  if (said === null) expect(refused).toBeNull();
  else expect(refused).toContain(said);
}); // prettier-ignore

test('a file that goes along is made as the group runs, or not at all', () => {
  const file = { path: '/home/u/data', uid: user.uid, gid: user.gid };
  checkOwner(file, user, 'node2');
  for (const other of [{ uid: 0 }, { gid: 0 }])
    expect(() => {
      checkOwner({ ...file, ...other }, user, 'node2');
    }).toThrow(
      /MUSTER_IMAGE_RIGHTS: node node2: .*file \/home\/u\/data would be written as \d+:\d+, the group runs as 4711:4712/,
    );
});
