import { Server, ServerCredentials, credentials } from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { AgentMessage, HubMessage } from './agent-types.ts';
import { loadWire, type HubHandlers } from './load.ts';

const wire = loadWire();

test('agent-types.ts names every message and field of agent.proto', () => {
  const proto = readFileSync(new URL('./agent.proto', import.meta.url), 'utf8').replace(/\/\/.*$/gm, '');
  const types = readFileSync(new URL('./agent-types.ts', import.meta.url), 'utf8');
  const messages = [...proto.matchAll(/^message (\w+) \{([\s\S]*?)^\}/gm)];
  expect(messages.length).toBeGreaterThan(25);
  for (const [, name, body] of messages) {
    const declared = new RegExp(`^export interface ${name ?? ''} \\{([\\s\\S]*?)^\\}`, 'm').exec(types)?.[1];
    expect(declared, `message ${name ?? ''}`).toBeDefined();
    const fields = [...(body ?? '').matchAll(/(\w+)\s*=\s*\d+;/g)].map(([, field]) =>
      (field ?? '').replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
    );
    const written = [...(declared ?? '').matchAll(/^ {2}(\w+)\??: /gm)]
      .map(([, field]) => field)
      .filter((f) => f !== 'body');
    expect(written.sort(), `fields of ${name ?? ''}`).toEqual(fields.sort());
  }
});

test('a message goes through a real server and comes back with defaults and large numbers', async () => {
  const server = new Server();
  const seen: AgentMessage[] = [];
  const handlers: HubHandlers = {
    session: (call) => {
      call.on('data', (message: AgentMessage) => {
        seen.push(message);
        call.write({
          desired: {
            full: true,
            revision: 2 ** 53 - 1,
            sandboxes: [{ id: { groupUid: 'u', ordinal: 1, incarnation: 2 } }],
          },
        });
        call.end();
      });
    },
    stream: (call) => call.end(),
  };
  server.addService(wire.hubService, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const client = new wire.Hub(`127.0.0.1:${String(port)}`, credentials.createInsecure());
  try {
    const call = client.session();
    const got = new Promise<HubMessage>((resolve, reject) => {
      call.on('data', resolve);
      call.on('error', reject);
    });
    call.write({
      facts: {
        full: true,
        sandboxes: [{ id: { groupUid: 'u', ordinal: 0, incarnation: 1 }, state: 'Running' }],
      },
    });
    const message = await got;
    expect(message.body).toBe('desired');
    expect(message.desired?.revision).toBe(2 ** 53 - 1);
    expect(message.desired?.sandboxes[0]?.programs).toEqual([]);
    expect(message.desired?.sandboxes[0]?.tree).toBeNull();
    expect(seen[0]?.facts?.sandboxes[0]).toMatchObject({
      state: 'Running',
      reason: '',
      failures: [],
      abort: null,
      frozen: false,
    });
    expect(seen[0]?.hello).toBeUndefined();
  } finally {
    client.close();
    server.forceShutdown();
  }
});
