import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeFileSystem, type FileSystem } from '../../store/file/file-system.ts';
import { FileStore } from '../../store/file/file-store.ts';
import {
  describeObjectStore,
  eventually,
  racks,
  take,
  widget,
  widgets,
  type Widget,
} from '../contract/object-store.ts';

function temporaryDirectory(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'muster-store-'));
}

const types = [widgets, racks];

describeObjectStore('FileStore', async () => {
  const directory = temporaryDirectory();
  const store = await FileStore.open({ directory, types });
  return {
    store,
    close: async () => {
      await store.close();
      fs.rmSync(directory, { recursive: true });
    },
  };
});

describe('FileStore', () => {
  let directory: string;
  beforeEach(() => {
    directory = temporaryDirectory();
  });
  afterEach(() => fs.rmSync(directory, { recursive: true }));

  it('has everything again when opened anew, and watches resume across', async () => {
    let before;
    let resourceVersion;
    {
      await using store = await FileStore.open({ directory, types });
      await store.create(widgets, widget('a'));
      ({ resourceVersion } = await store.list(widgets));
      await store.create(widgets, widget('b'));
      await store.patch(widgets, { name: 'a' }, { type: 'merge', patch: { spec: { size: 2 } } });
      await store.delete(widgets, { name: 'b' });
      before = await store.list(widgets);
    }
    await using store = await FileStore.open({ directory, types });
    expect(await store.list(widgets)).toEqual(before);
    expect(store.problems).toEqual([]);
    const events = await take(store.watch(widgets, { resourceVersion }), 3);
    expect(events.map(({ type, object }) => `${type} ${object.metadata.name}`)).toEqual([
      'ADDED b',
      'MODIFIED a',
      'DELETED b',
    ]);
  });

  it('tells of writes that are on their way; what follows from them at once shares their wait', async () => {
    const syncs: string[] = [];
    const fileSystem: FileSystem = {
      ...nodeFileSystem,
      create: (name) => {
        const file = nodeFileSystem.create(name);
        return {
          write: (data, position) => file.write(data, position),
          truncate: (length) => file.truncate(length),
          close: () => file.close(),
          sync: async () => {
            syncs.push(path.basename(name));
            await file.sync();
          },
        };
      },
    };
    await using store = await FileStore.open({ directory, types, fileSystem });
    syncs.length = 0;
    const told: string[] = [];
    let followed: Promise<unknown> | undefined;
    using listening = store.foretell((type, object, isNew) => {
      told.push(`${isNew ? 'new ' : ''}${object.metadata.name} ${object.metadata.resourceVersion}`);
      if (!isNew) return;
      const size = { type: 'merge', patch: { spec: { size: 7 } } } as const;
      followed = Promise.resolve().then(() => store.patch(type, { name: object.metadata.name }, size));
    });
    const created = store.create(widgets, widget('a', { size: 1 }));
    await Promise.resolve();
    await expect(store.get(widgets, { name: 'a' })).rejects.toThrow('not found');
    await store.settled();
    expect(await store.get<Widget>(widgets, { name: 'a' })).toMatchObject({ spec: { size: 7 } });
    expect(syncs).toEqual(['journal-0']);
    expect(told.map((each) => each.replace(/\d+$/, ''))).toEqual(['new a ', 'a ']);
    expect(await created).toMatchObject({ spec: { size: 1 } });
    expect(await followed).toMatchObject({ spec: { size: 7 } });
    listening[Symbol.dispose]();
    await store.delete(widgets, { name: 'a' });
    expect(told).toHaveLength(2);
  });

  it('survives snapshots taken in the midst of writes', async () => {
    {
      await using store = await FileStore.open({ directory, types, compactBytes: 2000 });
      await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          await store.create(widgets, widget(`w${index}`, { size: 0 }));
          for (let size = 1; size <= 5; size += 1) {
            await store.patch(widgets, { name: `w${index}` }, { type: 'merge', patch: { spec: { size } } });
          }
        }),
      );
    }
    expect(fs.readdirSync(directory).some((name) => name.startsWith('snapshot-'))).toBe(true);
    expect(fs.readdirSync(directory).length).toBeLessThan(8);
    await using store = await FileStore.open({ directory, types });
    const { items } = await store.list<Widget>(widgets);
    expect(items).toHaveLength(50);
    expect(items.every(({ spec }) => spec?.size === 5)).toBe(true);
    expect(store.problems).toEqual([]);
  });

  it('ends a slow watch as Expired instead of keeping events for it', async () => {
    await using store = await FileStore.open({ directory, types, windowEvents: 4 });
    await store.create(widgets, widget('a', { size: 0 }));
    const events = store.watch(widgets)[Symbol.asyncIterator]();
    await events.next();
    for (let size = 1; size <= 20; size += 1) {
      await store.patch(widgets, { name: 'a' }, { type: 'merge', patch: { spec: { size } } });
    }
    await expect(events.next()).rejects.toMatchObject({ reason: 'Expired' });
  });

  it('sends bookmarks to an idle watch', async () => {
    await using store = await FileStore.open({ directory, types, bookmarkEveryMs: 5 });
    await store.create(racks, { metadata: { name: 'r' }, spec: {} });
    const [bookmark] = await take(store.watch(widgets, { bookmarks: true, resourceVersion: '2' }), 1);
    expect(bookmark).toMatchObject({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '2' } } });
  });

  it('ends watches and refuses writes when closed', async () => {
    const store = await FileStore.open({ directory, types });
    const watching = take(store.watch(widgets), 1);
    watching.catch(() => undefined);
    await Promise.resolve();
    await store.close();
    await expect(watching).rejects.toMatchObject({ reason: 'Unavailable' });
    await expect(store.create(widgets, widget('a'))).rejects.toMatchObject({ reason: 'Unavailable' });
  });

  it('sets aside a foreign file and a torn tail, once, and says so', async () => {
    {
      await using store = await FileStore.open({ directory, types });
      await store.create(widgets, widget('a'));
    }
    fs.writeFileSync(path.join(directory, 'notes.txt'), 'mine');
    const journal = fs.readdirSync(directory).find((name) => name.startsWith('journal-'))!;
    fs.appendFileSync(path.join(directory, journal), '0badbeef 40 [["widgets');
    {
      await using store = await FileStore.open({ directory, types });
      expect(store.problems.map(({ file }) => file).sort()).toEqual([journal, 'notes.txt'].sort());
      expect(fs.readFileSync(path.join(directory, '.quarantine', 'notes.txt'), 'utf8')).toBe('mine');
      await store.get(widgets, { name: 'a' });
      await store.create(widgets, widget('b'));
    }
    await using store = await FileStore.open({ directory, types });
    expect(store.problems).toEqual([]);
    expect((await store.list(widgets)).items).toHaveLength(2);
  });

  it('keeps the rest when a batch or an object in the middle is unreadable', async () => {
    {
      await using store = await FileStore.open({ directory, types });
      for (const name of ['a', 'b', 'c']) await store.create(widgets, widget(name, { note: `note-${name}` }));
      await store.compact();
      for (const name of ['d', 'e', 'f']) await store.create(widgets, widget(name, { note: `note-${name}` }));
    }
    for (const name of fs.readdirSync(directory).filter((one) => /^(journal|snapshot)-/.test(one))) {
      const file = path.join(directory, name);
      fs.writeFileSync(
        file,
        fs.readFileSync(file, 'latin1').replace('note-b', 'nope-b').replace('note-e', 'nope-e'),
        'latin1',
      );
    }
    await using store = await FileStore.open({ directory, types });
    expect((await store.list(widgets)).items.map(({ metadata }) => metadata.name).join('')).toBe('acdf');
    expect(store.problems).toHaveLength(2);
    for (const { setAside } of store.problems) {
      expect(fs.readFileSync(path.join(directory, setAside!), 'utf8')).toContain('nope-');
    }
  });

  describe('doubt', () => {
    const newest = (kind: string): string =>
      path.join(
        directory,
        fs
          .readdirSync(directory)
          .filter((name) => name.startsWith(kind))
          .sort((a, b) => Number(b.split('-')[1]) - Number(a.split('-')[1]))[0]!,
      );
    beforeEach(async () => {
      await using store = await FileStore.open({ directory, types });
      await store.create(widgets, widget('a'));
      await store.compact();
      await store.create(widgets, widget('b'));
    });

    it.each([
      ['a snapshot of other bytes', () => fs.writeFileSync(newest('snapshot'), 'garbage')],
      ['a journal of other bytes', () => fs.writeFileSync(newest('journal'), 'garbage\n')],
      ['a snapshot that is cut short', () => fs.truncateSync(newest('snapshot'), 200)],
      ['a journal that is gone', () => fs.renameSync(newest('journal'), `${newest('journal')}0`)],
      [
        'a damaged first write',
        () => {
          const text = fs.readFileSync(newest('journal'), 'latin1').replace(/\0+$/, '');
          fs.writeFileSync(
            newest('journal'),
            `${text.replace('"b"', '"x"')}${text.slice(0, text.indexOf('\n') + 1)}`,
          );
        },
      ],
    ])('stands for %s, over later lives, until the store is trusted', async (_, damage) => {
      damage();
      const before = Date.now();
      for (let life = 0; life < 3; life += 1) {
        await using store = await FileStore.open({ directory, types });
        expect(store.problems.length > 0).toBe(life === 0);
        expect(store.doubt?.severity).toBe('Lost');
        expect(store.doubt?.messages).not.toEqual([]);
        expect(Date.parse(store.doubt!.since)).toBeGreaterThanOrEqual(before);
        await store.compact();
        if (life === 2) await store.trust();
      }
      await using store = await FileStore.open({ directory, types });
      expect(store.doubt).toBeUndefined();
    });

    it('is slight for a torn newest write, and none for a foreign file', async () => {
      fs.writeFileSync(path.join(directory, 'notes.txt'), 'mine');
      {
        await using store = await FileStore.open({ directory, types });
        expect(store.doubt).toBeUndefined();
        await store.create(widgets, widget('c'));
      }
      fs.appendFileSync(newest('journal'), '0badbeef 40 [["widgets');
      await using store = await FileStore.open({ directory, types });
      expect(store.doubt?.severity).toBe('Torn');
    });

    it('stands when a store that existed is gone altogether, or its record cannot be read', async () => {
      for (const name of fs.readdirSync(directory))
        fs.rmSync(path.join(directory, name), { recursive: true });
      {
        await using store = await FileStore.open({ directory, types, existed: true });
        expect(store.doubt?.severity).toBe('Lost');
      }
      fs.writeFileSync(path.join(directory, 'doubt.json'), '{');
      await using store = await FileStore.open({ directory, types });
      expect(store.doubt).toMatchObject({
        severity: 'Lost',
        messages: [expect.stringContaining('doubt.json')],
      });
    });

    it('is none for a new store', async () => {
      await using store = await FileStore.open({
        directory: path.join(directory, 'new'),
        types,
        existed: false,
      });
      expect(store.doubt).toBeUndefined();
    });
  });

  it('keeps objects of kinds it does not know', async () => {
    {
      await using store = await FileStore.open({ directory, types });
      await store.create(racks, { metadata: { name: 'r' }, spec: {} });
    }
    {
      await using store = await FileStore.open({ directory, types: [widgets] });
      await store.compact();
    }
    await using store = await FileStore.open({ directory, types });
    await store.get(racks, { name: 'r' });
  });

  it('belongs to one at a time, and says to whom', async () => {
    const store = await FileStore.open({ directory, types });
    await expect(FileStore.open({ directory, types })).rejects.toThrow(`belongs to process ${process.pid} `);
    await store.close();
    await using again = await FileStore.open({ directory, types });
    await again.create(widgets, widget('a'));
  });

  it('collects garbage that a crash left', async () => {
    {
      await using store = await FileStore.open({ directory, types: [widgets] });
      const ownerReferences = [{ apiVersion: 'test.muster.dev/v1', kind: 'Rack', name: 'r', uid: 'u' }];
      await store.create(widgets, widget('a', {}, { ownerReferences }));
    }
    await using store = await FileStore.open({ directory, types });
    await eventually(() => expect(store.size).toBe(0));
  });
});
