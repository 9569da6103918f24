import { describe, expect, it } from 'vitest';
import { builtinTypes } from '../../store/resource.ts';
import { startApi } from './api.ts';
import { describeKubectl, scaledWidgets } from './scripts.ts';

describeKubectl("Muster's own API server", () => startApi({ moreTypes: [scaledWidgets] }));

describe('tables of the built-in kinds', () => {
  it('are those that kubectl users know', async () => {
    await using api = await startApi();
    const { kubectl } = api;
    expect(await kubectl.run('get', 'ns')).toMatch(/^NAME +STATUS +AGE\ndefault +Active +\S+\n$/);
    await kubectl.run('create', 'configmap', 'c', '--from-literal=a=1', '--from-literal=b=2');
    expect(await kubectl.run('get', 'cm')).toMatch(/^NAME +DATA +AGE\nc +2 /);
    await api.store.create(builtinTypes.event, {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: 'c.1' },
      eventTime: new Date().toISOString().replace('Z', '000Z'),
      reason: 'Told',
      type: 'Normal',
      note: 'something happened',
      regarding: { apiVersion: 'v1', kind: 'ConfigMap', name: 'c', namespace: 'default' },
    });
    expect(await kubectl.run('get', 'events')).toMatch(
      /^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n\ds +Normal +Told +configmap\/c +something happened\n$/,
    );
  });

  it('tell what only our server checks: that the ranks are covered', async () => {
    await using api = await startApi();
    const spec = { size: 4, processes: [{ name: 'all', ranks: '0-2', command: ['x'] }] };
    api.write(
      'bad.json',
      JSON.stringify({
        apiVersion: 'muster.dev/v1alpha1',
        kind: 'ProcessGroup',
        metadata: { name: 'bad' },
        spec,
      }),
    );
    expect(await api.kubectl.refused(['create', '-f', 'bad.json'])).toContain(
      'The ProcessGroup "bad" is invalid: spec.processes',
    );
  });
});
