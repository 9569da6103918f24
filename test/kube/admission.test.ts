/**
 * The table of valid and invalid objects (crds/cases) on the real Kubernetes API: our definitions there decide as our own
 * admission does on the file store, name the same fields, and fill in the same defaults.
 */
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admit } from '../../crds/admission.ts';
import { type Case, readCases } from '../../crds/cases/cases.ts';
import {
  checkpointType,
  migrationType,
  nodeMonitorType,
  processGroupType,
} from '../../controllers/resource-types.ts';
import { kubeDaemonTargetOf } from '../../store/client/kubeconfig.ts';
import { pathOf } from '../../store/client/http-store.ts';
import { KubernetesStore } from '../../store/kubernetes/kubernetes-store.ts';
import { isStoreError, type AnyObject } from '../../store/object-store.ts';
import type { ResourceType } from '../../store/resource.ts';
import type { StoreError } from '../../store/store-error.ts';
import { KubeCluster } from './cluster.ts';

let cluster: KubeCluster;
let store: KubernetesStore;
beforeAll(async () => {
  cluster = await KubeCluster.start();
  await cluster.installCrds();
  store = new KubernetesStore({
    server: kubeDaemonTargetOf(cluster.kubeconfig, undefined).server,
    logger: pino({ level: 'silent' }),
  });
}, 900_000);
afterAll(async () => {
  store?.[Symbol.dispose]();
  await cluster?.[Symbol.asyncDispose]();
});

const typeOf = (object: { kind: string }): ResourceType =>
  [processGroupType, checkpointType, migrationType, nodeMonitorType].find(
    ({ kind }) => kind === object.kind,
  )!;

/** What the API server says to the case; undefined when it accepts it. */
async function verdictOf({ object, oldObject }: Case): Promise<AnyObject | StoreError> {
  const type = typeOf(object);
  const query = new URLSearchParams({ fieldValidation: 'Strict' });
  const { name, namespace } = object.metadata;
  try {
    if (oldObject === undefined) {
      const path = pathOf(type, { namespace });
      return (await store.requestJson({ method: 'POST', path, query, body: object })) as AnyObject;
    }
    let before = await store.create(type, oldObject as AnyObject);
    if (oldObject.status) before = await store.updateStatus(type, { ...before, status: oldObject.status });
    const metadata = { ...object.metadata, resourceVersion: before.metadata.resourceVersion };
    const path = pathOf(type, { name, namespace });
    return (await store.requestJson({
      method: 'PUT',
      path,
      query,
      body: { ...object, metadata },
    })) as AnyObject;
  } catch (error) {
    if (!isStoreError(error)) throw error;
    return error;
  } finally {
    await store.delete(type, { name, namespace }).catch(() => undefined);
  }
}

describe('the definitions on Kubernetes', () => {
  it.each(readCases().map((each) => [each.name, each] as const))('%s', async (_, each) => {
    const verdict = await verdictOf(each);
    const fields = Object.keys(each.errors);
    if (fields.length === 0 || !each.byServer) {
      expect(verdict).not.toBeInstanceOf(Error);
      const admitted = admit(each.oldObject ? 'UPDATE' : 'CREATE', each.object, each.oldObject);
      if (admitted.object) expect((verdict as AnyObject).spec).toEqual(admitted.object.spec);
      return;
    }
    expect(verdict).toBeInstanceOf(Error);
    const { message, details } = verdict as StoreError;
    const told = [...(details.causes ?? []).map(({ field }) => field), ...message.split(/[\s",:]+/)];
    // Where the shape is wrong, rules are not asked any more: not every field need be told at once.
    expect(
      fields.some((field) => told.some((one) => isAbout(one, field))),
      message,
    ).toBe(true);
  });
});

/** `spec.processes[0].ranks` is about `spec.processes`, and the other way round. */
function isAbout(one: string, other: string): boolean {
  const plain = (path: string): string => path.replace(/^metadata\./, '').replaceAll(/\[[^\]]*\]/g, '');
  const [left, right] = [plain(one), plain(other)];
  return left !== '' && (left.startsWith(right) || right.startsWith(left));
}
