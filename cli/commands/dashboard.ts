/**
 * `muster dashboard`: a door to the web page for the browser of whoever runs it, until it is ended. The address that it prints signs in
 * one browser, once; for a browser that is opened it stands in a private file, since arguments are seen by everybody.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verbsBase } from '../../controllers/subresources/paths.ts';
import { HttpStore } from '../../store/client/http-store.ts';
import { isStoreError } from '../../store/store-error.ts';
import type { Config } from '../config.ts';
import { Door } from '../dashboard-door.ts';
import { stopSignal } from '../daemon/stop-signal.ts';
import { CommandError } from '../errors.ts';

export interface DashboardOptions {
  readonly port: string;
  readonly open?: boolean;
}

export async function dashboard(config: Config, _args: string[], options: DashboardOptions): Promise<number> {
  const port = Number(options.port);
  if (!Number.isSafeInteger(port) || port < 0 || port > 65_535)
    throw new CommandError(`--port ${options.port}: expected a port, or 0 for a free one`, 2);
  using store = new HttpStore(config.server);
  const upstream = (path: string, query: URLSearchParams) =>
    store.request({ method: 'GET', path: `${verbsBase}${path}`, query, accept: '*/*' });
  await isServed(upstream);
  const signal = stopSignal();
  await using door = await opened({ port, upstream, now: Date.now });
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const address = door.newAddress();
  say(address);
  say('The address signs in one browser, once, within five minutes. Ctrl-C ends the page.');
  await using _file = options.open === true ? await openBrowser(address) : undefined;
  if (process.stdin.isTTY) {
    say('Enter gives another address.');
    process.stdin.on('data', () => say(door.newAddress()));
    process.stdin.unref();
  }
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  return 0;
}

/** Now, in words, and not in a browser later. */
async function isServed(upstream: (path: string, query: URLSearchParams) => Promise<NodeJS.ReadableStream>) {
  try {
    (await upstream('/dashboard/', new URLSearchParams())).resume();
  } catch (cause) {
    if (!isStoreError(cause, 'NotFound')) throw cause;
    throw new CommandError(
      'this control plane serves no page: it is older than this command, or on Kubernetes serves no verbs (subresources.enabled of the chart)',
      1,
      { cause },
    );
  }
}

async function opened(options: Parameters<typeof Door.open>[0]): Promise<Door> {
  try {
    return await Door.open(options);
  } catch (cause) {
    throw new CommandError(`--port ${options.port}: cannot listen on 127.0.0.1`, 1, { cause });
  }
}

async function openBrowser(address: string): Promise<AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'muster-dashboard-'));
  const file = join(directory, 'open.html');
  const page = `<!doctype html><meta http-equiv="refresh" content="0;url=${address}"><title>Muster</title>\n`;
  await writeFile(file, page, { mode: 0o600 });
  const child = spawn('xdg-open', [file], { stdio: 'ignore', detached: true });
  child.once('error', (error) => {
    process.stderr.write(
      `muster: no browser could be opened (${error.message}): open the address yourself\n`,
    );
  });
  child.unref();
  return { [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
