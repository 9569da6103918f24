/**
 * What a replica that does not lead does with connections for the verbs: passes their bytes on to the one that does, which alone
 * speaks TLS with the API server. It reads nothing of them.
 */
import net from 'node:net';

export interface VerbRelay extends AsyncDisposable {
  readonly port: number;
}

export async function startVerbRelay(options: {
  readonly listen: { readonly host: string; readonly port: number };
  /** `host:port` of the leader's verbs; empty while nobody leads. */
  readonly leader: () => string;
}): Promise<VerbRelay> {
  const open = new Set<net.Socket>();
  const server = net.createServer((from) => {
    const [, host, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(options.leader()) ?? [];
    if (host === undefined) return void from.destroy();
    const to = net.connect(Number(port), host);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      open.add(one);
      one.setNoDelay();
      one.on('error', () => other.destroy());
      one.once('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(options.listen, resolve);
  await promise;
  return {
    port: (server.address() as net.AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      for (const socket of open) socket.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}
