/** Writes to a store for ever and says what was acknowledged; the kill test ends it. Arguments: the directory. */
import fs from 'node:fs';
import { flushCompileCache } from 'node:module';
import { FileStore } from '../../store/file/file-store.ts';
import type { AnyObject } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';

interface Counter extends AnyObject {
  spec?: { size?: number };
}

flushCompileCache();
const widgets: ResourceType = {
  group: 'test.muster.dev',
  version: 'v1',
  kind: 'Widget',
  plural: 'widgets',
  namespaced: true,
};
const store = await FileStore.open({ directory: process.argv[2]!, types: [widgets], compactBytes: 20_000 });
for (const { message } of store.problems) fs.writeSync(1, `problem ${message}\n`);

async function count(name: string): Promise<never> {
  let size = 0;
  try {
    size = (await store.get<Counter>(widgets, { name })).spec?.size ?? 0;
  } catch {
    await store.create<Counter>(widgets, { metadata: { name }, spec: { size } });
  }
  for (;;) {
    size += 1;
    await store.update<Counter>(widgets, { metadata: { name }, spec: { size } });
    fs.writeSync(1, `${name} ${size}\n`);
  }
}

await Promise.all(['a', 'b', 'c', 'd'].map(count));
