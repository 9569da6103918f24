// An agent as a process of its own, so that tests can kill it: its configuration is the first argument, as JSON.
import { flushCompileCache } from 'node:module';
import { pino } from 'pino';
import type { AgentConfig } from '../../node-agent/config.ts';
import { runAgent } from '../../node-agent/main.ts';

flushCompileCache();
const config = JSON.parse(process.argv[2] ?? '') as Omit<AgentConfig, 'logger'>;
const stop = new AbortController();
process.on('SIGTERM', () => {
  stop.abort();
});
await runAgent(
  {
    ...config,
    logger: pino({ level: process.env['LOG_LEVEL'] ?? 'info' }, pino.destination({ dest: 2, sync: true })),
  },
  stop.signal,
);
process.exit(0);
