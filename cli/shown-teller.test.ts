import { describe, expect, it } from 'vitest';
import { StoreError } from '../store/object-store.ts';
import { ShownTeller } from './shown-teller.ts';

/** Takes what is told, one request at a time, each answered by hand. */
function server() {
  const told: string[] = [];
  const answers: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  let heard = Promise.withResolvers<void>();
  const send = (positions: string): Promise<void> => {
    told.push(positions);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    answers.push({ resolve, reject });
    heard.resolve();
    return promise;
  };
  const next = async (): Promise<{ resolve: () => void; reject: (error: unknown) => void }> => {
    while (answers.length === 0) await heard.promise;
    heard = Promise.withResolvers<void>();
    return answers.shift()!;
  };
  return { told, send, next };
}

describe('ShownTeller', () => {
  it('tells the newest positions, one request at a time', async () => {
    const { told, send, next } = server();
    const teller = new ShownTeller(send, 0);
    teller.shown('0.1', 10);
    teller.shown('0.1', 20);
    teller.shown('1.2', 5);
    teller.shown('0.1', 30);
    expect(told).toEqual(['0.1@10']);
    (await next()).resolve();
    (await next()).resolve();
    expect(told).toEqual(['0.1@10', '0.1@30,1.2@5']);
  });

  it('tells again what was not heard, with what is newer', async () => {
    const { told, send, next } = server();
    const teller = new ShownTeller(send, 0);
    teller.again(new Map([['0.1', 10]]));
    const first = await next();
    teller.shown('1.1', 7);
    first.reject(new StoreError('Unavailable', 'away'));
    (await next()).resolve();
    expect(told).toEqual(['0.1@10', '1.1@7,0.1@10']);
  });

  it('is quiet once the server says that nobody waits for it', async () => {
    const { told, send, next } = server();
    const teller = new ShownTeller(send, 0);
    teller.shown('0.1', 10);
    (await next()).reject(new StoreError('Conflict', 'not you'));
    await new Promise((resolve) => setImmediate(resolve));
    teller.shown('0.1', 20);
    expect(told).toEqual(['0.1@10']);
  });
});
