import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { storageTrouble } from './storages.ts';

test('a storage is root alone to write, there, and left as it was found', () => {
  const directory = mkdtempSync(`${tmpdir()}/muster-storage-`);
  try {
    expect(storageTrouble(directory, 'node1')).toBeNull();
    expect(readdirSync(directory)).toEqual([]);
    chmodSync(directory, 0o770);
    expect(storageTrouble(directory, 'node1')).toContain('others could write');
    expect(storageTrouble(`${directory}/none`, 'node1')).toContain('ENOENT');
    expect(storageTrouble('/proc/self/status', 'node1')).toContain('is no directory');
  } finally {
    rmSync(directory, { recursive: true });
  }
});
