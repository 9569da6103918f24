import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../store/file/file-store.ts';
import { Manifests } from '../../store/file/manifests.ts';
import { eventually, racks, widget, widgets, type Widget } from '../contract/object-store.ts';

const types = [widgets, racks];

const text = (name: string, size = 1): string =>
  `apiVersion: test.muster.dev/v1\nkind: Widget\nmetadata: {name: ${name}}\nspec: {size: ${size}}\n`;

describe('Manifests', () => {
  let root: string;
  let directory: string;
  let store: FileStore;
  let manifests: Manifests;
  const memoryFile = (): string => path.join(root, 'manifests.json');
  const begin = async (): Promise<void> => {
    manifests = new Manifests({
      directory,
      store,
      types,
      memoryFile: memoryFile(),
      settleMs: 0,
      rescanMs: 60_000,
    });
    await manifests.start();
  };
  const put = (file: string, content: string): void => fs.writeFileSync(path.join(directory, file), content);
  const remove = (file: string): void => fs.rmSync(path.join(directory, file));
  const names = async (): Promise<string> =>
    (await store.list(widgets)).items.map(({ metadata }) => metadata.name).join('');

  beforeEach(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-manifests-'));
    directory = path.join(root, 'manifests');
    fs.mkdirSync(directory);
    store = await FileStore.open({ directory: path.join(root, 'store'), types });
  });
  afterEach(async () => {
    await manifests.close();
    await store.close();
    fs.rmSync(root, { recursive: true });
  });

  it('creates, updates and deletes as files come, change and go', async () => {
    put('one.yaml', `${text('a')}---\n# a comment\n${text('b')}`);
    await begin();
    expect(await names()).toBe('ab');
    put('two.yml', text('c'));
    await eventually(async () => expect(await names()).toBe('abc'));
    put('two.yml', text('c', 7));
    await eventually(async () => {
      expect((await store.get<Widget>(widgets, { name: 'c' })).spec?.size).toBe(7);
    });
    remove('two.yml');
    await eventually(async () => expect(await names()).toBe('ab'));
    expect(manifests.status()).toMatchObject({ files: 1, managed: 2, problems: [], blocked: undefined });
  });

  it('brings a finished object back only when its text changes, across restarts too', async () => {
    put('one.yaml', text('a'));
    put('two.yaml', text('b'));
    await begin();
    await store.delete(widgets, { name: 'a' });
    await manifests.sync();
    await manifests.close();
    await begin();
    expect(await names()).toBe('b');
    put('one.yaml', text('a', 2));
    await manifests.sync();
    expect(await names()).toBe('ab');
  });

  it('keeps the last good state of a broken file, and says which line', async () => {
    put('one.yaml', `${text('a')}---\n${text('b')}`);
    await begin();
    put('one.yaml', `${text('a', 5)}---\nkind: Widget\nmetadata: [\nspec: 1\n`);
    await manifests.sync();
    expect(await names()).toBe('ab');
    expect((await store.get<Widget>(widgets, { name: 'a' })).spec?.size).toBe(1);
    const [problem] = manifests.status().problems;
    expect(problem).toMatchObject({ file: 'one.yaml' });
    expect(problem!.line).toBeGreaterThanOrEqual(7);
  });

  it('reports what is not an object, not a known kind, or refused by the store', async () => {
    put('a.yaml', '- 1\n');
    put('b.yaml', '\n\napiVersion: v9\nkind: Gadget\nmetadata: {name: g}\n');
    put('c.yaml', text('Not_A_Name'));
    put('d.yaml', text('d'));
    await begin();
    const { problems } = manifests.status();
    expect(problems.map(({ file, line }) => `${file}:${line}`)).toEqual(['a.yaml:1', 'b.yaml:3', 'c.yaml:3']);
    expect(await names()).toBe('d');
  });

  it('leaves alone what it did not make', async () => {
    await store.create(widgets, widget('a', { size: 9 }));
    put('one.yaml', text('a'));
    await begin();
    expect((await store.get<Widget>(widgets, { name: 'a' })).spec?.size).toBe(9);
    expect(manifests.status().problems[0]?.message).toContain('was not made from this directory');
    remove('one.yaml');
    await manifests.sync();
    expect(await names()).toBe('a');
  });

  it.each([
    ['is missing', () => fs.rmSync(directory, { recursive: true })],
    ['holds no manifests', () => ['a', 'b', 'c'].forEach((name) => remove(`${name}.yaml`))],
    ['More than half', () => ['a', 'b'].forEach((name) => remove(`${name}.yaml`))],
  ])('deletes nothing when the directory %s', async (why, happen) => {
    for (const name of ['a', 'b', 'c']) put(`${name}.yaml`, text(name));
    await begin();
    happen();
    await manifests.sync();
    expect(await names()).toBe('abc');
    expect(manifests.status().blocked).toContain(why);
    fs.mkdirSync(directory, { recursive: true });
    for (const name of ['a', 'b', 'c']) put(`${name}.yaml`, text(name));
    await manifests.sync();
    expect(manifests.status().blocked).toBeUndefined();
  });

  it('takes back what it made when its memory was lost', async () => {
    put('one.yaml', text('a'));
    put('two.yaml', text('b'));
    await begin();
    await manifests.close();
    fs.rmSync(memoryFile());
    await begin();
    expect(manifests.status().problems).toEqual([]);
    remove('two.yaml');
    await manifests.sync();
    expect(await names()).toBe('a');
  });

  it('begins when its directory appears', async () => {
    fs.rmSync(directory, { recursive: true });
    await begin();
    expect(manifests.status().problems[0]?.message).toContain('cannot be read');
    fs.mkdirSync(directory);
    put('one.yaml', text('a'));
    await eventually(async () => expect(await names()).toBe('a'));
  });

  it('waits until a file is no longer being written', async () => {
    manifests = new Manifests({
      directory,
      store,
      types,
      memoryFile: memoryFile(),
      settleMs: 300,
      rescanMs: 60_000,
    });
    put('one.yaml', text('a'));
    await manifests.start();
    expect(await names()).toBe('');
    await eventually(async () => expect(await names()).toBe('a'));
  });
});
