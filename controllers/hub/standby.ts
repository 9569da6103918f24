/**
 * What listens where the hub will be while another replica leads: every agent that dials in is told where the leader is. It knows
 * nothing of nodes or groups.
 */
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js';
import type { AgentMessage } from '../../wire/agent-types.ts';
import { channelOptions, loadWire, type HubHandlers } from '../../wire/load.ts';
import type { HubTls } from './hub.ts';

export interface StandbyOptions {
  readonly listen: string;
  readonly tls: HubTls;
  /** `host:port` of the leader's hub, or '' while nobody is known to lead. */
  readonly leader: () => string;
  readonly protoPath?: string;
}

export interface Standby extends AsyncDisposable {
  readonly port: number;
}

export async function startStandby({ listen, tls, leader, protoPath }: StandbyOptions): Promise<Standby> {
  const server = new Server(channelOptions as unknown as ServerOptions);
  const handlers: HubHandlers = {
    session: (call) => {
      call.on('error', () => undefined);
      call.once('data', (_hello: AgentMessage) => {
        const address = leader();
        const message =
          address === ''
            ? 'No controller leads at the moment; try again'
            : `The controller at ${address} leads`;
        call.write({ body: 'refused', refused: { code: 'NotLeader', message, leader: address } });
        call.end();
      });
    },
    stream: (call) => {
      call.on('error', () => undefined);
      call.end();
    },
  };
  server.addService(loadWire(protoPath).hubService, handlers);
  const pair = { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) };
  const credentials = ServerCredentials.createSsl(Buffer.from(tls.ca), [pair], true);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(listen, credentials, (error, port) => (error ? reject(error) : resolve(port)));
  const port = await promise;
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      server.forceShutdown();
      await Promise.resolve();
    },
  };
}
