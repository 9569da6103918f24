/** `muster delete`: marks objects for deletion and, unless told not to, waits until they are gone. */
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type Client } from '../client.ts';
import type { Config } from '../config.ts';
import { CommandError } from '../errors.ts';
import { sourcesOf } from './apply.ts';
import { parseManifests } from '../../crds/manifest.ts';
import { type AnyObject, isStoreError, type ObjectKey, type ResourceType } from '../../store/object-store.ts';

export interface DeleteOptions {
  filename?: string;
  all?: boolean;
  wait: boolean;
  ignoreNotFound?: boolean;
}

interface Target {
  readonly type: ResourceType;
  readonly key: ObjectKey;
}

export async function deleteObjects(config: Config, args: string[], options: DeleteOptions): Promise<number> {
  const client = connect(config.server);
  const targets = await targetsOf(client, config, args, options);
  const waiting: (Target & { uid: string })[] = [];
  let failed = 0;
  for (const target of targets) {
    const label = `${target.type.kind.toLowerCase()}/${target.key.name}`;
    try {
      const result = await client.store.delete(target.type, target.key);
      if (!result.gone) waiting.push({ ...target, uid: result.object.metadata.uid ?? '' });
      process.stdout.write(`${label} deleted\n`);
    } catch (error) {
      if (isStoreError(error, 'NotFound') && options.ignoreNotFound === true) continue;
      process.stderr.write(`${label}: ${error instanceof Error ? error.message : String(error)}\n`);
      failed++;
    }
  }
  if (options.wait) for (const target of waiting) await untilGone(client, target);
  return failed === 0 ? 0 : 1;
}

async function targetsOf(
  client: Client,
  config: Config,
  args: string[],
  options: DeleteOptions,
): Promise<Target[]> {
  if (options.filename !== undefined) {
    return sourcesOf(options.filename).flatMap(({ file, text }) => {
      const parsed = parseManifests(text, file);
      const [error] = parsed.errors;
      if (error) throw new CommandError(`${error.file}:${error.line}: ${error.message}`);
      return parsed.objects.flatMap(({ object }) => {
        const { kind, metadata } = object as AnyObject;
        const [type] = client.typesOf(String(kind));
        if (!type) return [];
        const namespace = type.namespaced ? (metadata.namespace ?? config.namespace) : undefined;
        return [{ type, key: { namespace, name: metadata.name ?? '' } }];
      });
    });
  }
  const [word, ...names] = args;
  if (word === undefined) throw new CommandError('nothing to delete: give a kind and names, or -f FILE', 2);
  const slash = word.indexOf('/');
  if (slash > 0) {
    return args.map((item) => {
      const [kind = '', name = ''] = item.split('/');
      const [type] = client.typesOf(kind);
      return { type: type!, key: { namespace: type!.namespaced ? config.namespace : undefined, name } };
    });
  }
  const [type] = client.typesOf(word);
  const namespace = type!.namespaced ? config.namespace : undefined;
  if (names.length > 0) return names.map((name) => ({ type: type!, key: { namespace, name } }));
  if (options.all !== true) throw new CommandError(`give names of ${type!.plural}, or --all`, 2);
  const { items } = await client.store.list(type!, { namespace });
  return items.map((item) => ({
    type: type!,
    key: { namespace: item.metadata.namespace, name: item.metadata.name ?? '' },
  }));
}

async function untilGone(client: Client, target: Target & { uid: string }): Promise<void> {
  for (;;) {
    try {
      const now = await client.store.get(target.type, target.key);
      if (now.metadata.uid !== target.uid) return;
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return;
      throw error;
    }
    await pause(50);
  }
}
