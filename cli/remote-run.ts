/**
 * `muster run` on a cluster that a kubeconfig names: makes the group, beside it a Secret with the caller's environment, stays
 * attached until the end, and gives the job's exit code back. Signals of the terminal do what they do with mpiexec. What it asks
 * for it may ask twice: the group's name is its own choice, so one that was made by a lost request is found again.
 */
import { createHash, randomBytes } from 'node:crypto';
import { groupVerbPath } from '../controllers/subresources/paths.ts';
import { setTimeout as pause } from 'node:timers/promises';
import { annotations } from '../crds/names.ts';
import type { ProcessGroup } from '../crds/types.gen.ts';
import { isStoreError } from '../store/object-store.ts';
import { builtinTypes } from '../store/resource.ts';
import type { Notice } from '../wire/attach-frames.ts';
import { attachTo } from './attach-client.ts';
import { type Client, connect, processGroupType } from './client.ts';
import { type Config, mpiexecTimeoutOf } from './config.ts';
import { environmentSecretType } from './daemon/environment-secrets.ts';
import { textOfError } from './errors.ts';
import { LineLabeller } from './line-labeller.ts';
import { groupOfRun, inheritedEnvironment, stemOf } from './run-group.ts';
import { type RunRequest, UsageError } from './run-options.ts';
import { hasTerminal, rawKeys, terminalSize } from './terminal.ts';

const interruptedCode = 130;
const badRequestCode = 2;
const mostTries = 5;
const againAfterMs = 500;
const tellWaitingAfterMs = 2_000;

export async function remoteRun(
  config: Config,
  request: RunRequest,
  environment: Readonly<Record<string, string>>,
): Promise<number> {
  const client = connect(config.server);
  const token = randomBytes(16).toString('hex');
  const group = await submit(client, config.namespace, request, environment, token);
  if (request.detach) {
    process.stdout.write(`${group.metadata.name}\n`);
    return 0;
  }
  return new ForegroundJob(client, group, request, token).run();
}

async function submit(
  client: Client,
  namespace: string,
  request: RunRequest,
  environment: Readonly<Record<string, string>>,
  token: string,
): Promise<ProcessGroup> {
  const timeout = request.wallTimeSeconds ?? mpiexecTimeoutOf(environment);
  const asked = {
    ...request,
    namespace: request.namespace === 'default' ? namespace : request.namespace,
    ...(timeout === undefined ? {} : { wallTimeSeconds: timeout }),
  };
  const caller = {
    workingDir: process.cwd(),
    umask: process.umask(),
    rlimits: [],
    environment,
    terminal: undefined,
  };
  const stem = stemOf(request.programs[0]?.argv[0] ?? 'job');
  const draft = groupOfRun(asked, caller, `${stem}-${randomBytes(3).toString('hex')}`);
  const { name } = draft.metadata;
  const key = { namespace: asked.namespace, name };
  const secret = secretOf(`${name}-environment`, asked.namespace, inheritedEnvironment(request, environment));
  const lease = createHash('sha256').update(token).digest('hex');
  const object = {
    ...draft,
    metadata: {
      ...draft.metadata,
      annotations: {
        ...(secret === undefined ? {} : { [annotations.environmentSecret.name]: secret.metadata.name }),
        ...(request.detach ? {} : { [annotations.clientLease.name]: lease }),
      },
    },
    spec: { ...draft.spec, ...securityOf(draft, request.user) },
  } as ProcessGroup;
  if (secret)
    await made(
      () => client.store.create(builtinTypes.secret, secret),
      () => Promise.resolve(true),
    );
  const secretKey = { namespace: asked.namespace, name: secret?.metadata.name ?? '' };
  try {
    const isOurs = async (): Promise<boolean> => {
      const there = await client.store.get<ProcessGroup>(processGroupType, key);
      return there.metadata.annotations?.[annotations.clientLease.name] === lease;
    };
    await made(() => client.store.create<ProcessGroup>(processGroupType, object), isOurs);
    const group = await client.store.get<ProcessGroup>(processGroupType, key);
    if (secret) {
      // The environment goes when the job does.
      const owner = {
        apiVersion: 'muster.dev/v1alpha1',
        kind: 'ProcessGroup',
        name,
        uid: group.metadata.uid ?? '',
      };
      const patch = { metadata: { ownerReferences: [owner] } };
      await client.store.patch(builtinTypes.secret, secretKey, { type: 'merge', patch });
    }
    return group;
  } catch (error) {
    if (secret) await client.store.delete(builtinTypes.secret, secretKey).catch(() => undefined);
    throw error;
  }
}

/** Creates; a connection that is lost meanwhile leaves open whether it did: then it is tried again, and may be there already. */
async function made(create: () => Promise<unknown>, isOurs: () => Promise<boolean>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await create();
      return;
    } catch (error) {
      if (tries > 1 && isStoreError(error, 'AlreadyExists') && (await isOurs())) return;
      if (!isStoreError(error, 'Unavailable', 'TooManyRequests') || tries === mostTries) throw error;
    }
    await pause(againAfterMs);
  }
}

/** Undefined when nothing of the caller's environment is to be passed on. Names that a Secret cannot hold stay behind. */
function secretOf(name: string, namespace: string, environment: Readonly<Record<string, string>>) {
  const entries = Object.entries(environment).filter(([key]) => /^[-._a-zA-Z0-9]{1,253}$/.test(key));
  if (entries.length === 0) return undefined;
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace },
    type: environmentSecretType,
    data: Object.fromEntries(entries.map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
  };
}

function securityOf(
  draft: ProcessGroup,
  user: string | undefined,
): Pick<ProcessGroup['spec'], 'securityContext'> {
  if (user === undefined) return {};
  if (!/^\d{1,10}$/.test(user))
    throw new UsageError(`--user ${user}: on another cluster give the number of a user`);
  return { securityContext: { ...draft.spec.securityContext, runAsUser: Number(user) } };
}

class ForegroundJob {
  readonly #client: Client;
  readonly #group: ProcessGroup;
  readonly #request: RunRequest;
  readonly #token: string;
  readonly #key: { namespace: string | undefined; name: string };
  readonly #leaving = new AbortController();
  #interrupts = 0;
  #stopAsked = false;
  #refusal = '';
  #waiting: NodeJS.Timeout | undefined;

  constructor(client: Client, group: ProcessGroup, request: RunRequest, token: string) {
    this.#client = client;
    this.#group = group;
    this.#request = request;
    this.#token = token;
    this.#key = { namespace: group.metadata.namespace, name: group.metadata.name };
  }

  async run(): Promise<number> {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)
      process.on(name, () => this.#interrupt());
    process.on('SIGTSTP', () => this.#suspend(true));
    process.on('SIGCONT', () => {
      if (this.#stopAsked) this.#suspend(false);
    });
    const ownTerminal = this.#request.tty && hasTerminal();
    using keys = ownTerminal ? rawKeys(() => this.#leaving.abort()) : undefined;
    const labeller = new LineLabeller(this.#request.labels);
    const end = await attachTo(
      this.#client,
      {
        key: this.#key,
        uid: this.#group.metadata.uid ?? '',
        token: this.#token,
        reading: {},
        tellsShown: this.#request.whenFull === 'Block',
        input: this.#request.stdin === 'None' ? undefined : (keys?.input ?? process.stdin),
        output: (frame) => labeller.write(frame),
        notice: (notice) => this.#noticed(notice),
        size: ownTerminal ? terminalSize : undefined,
      },
      this.#leaving.signal,
    );
    this.#tellWaiting(undefined);
    await labeller.end();
    keys?.[Symbol.dispose]();
    process.stdin.destroy();
    if (!end) return await this.#detach();
    if (this.#refusal !== '') {
      process.stderr.write(`muster: ${this.#refusal}\n`);
      return badRequestCode;
    }
    if (this.#interrupts > 0 && end.code !== 0) return interruptedCode;
    if (end.text !== '') process.stderr.write(`${end.text}\n`);
    return end.code;
  }

  async #detach(): Promise<number> {
    await this.#client.request('POST', groupVerbPath(this.#key, 'detach'), {});
    process.stderr.write(`muster: left processgroup/${this.#key.name}, which runs on\n`);
    return 0;
  }

  #noticed({ kind, message, reason }: Notice): void {
    if (kind === 'Suspended' && this.#stopAsked) process.kill(process.pid, 'SIGSTOP');
    else if (kind === 'Problem') process.stderr.write(`muster: ${message}\n`);
    else if (kind === 'Waiting' && reason === 'NoSuchNode') {
      // As mpiexec: a host that does not exist is the caller's mistake.
      this.#refusal = message;
      this.#act(this.#kill(true));
    } else if (kind === 'Waiting') this.#tellWaiting(message);
    else if (kind === 'Running') this.#tellWaiting(undefined);
  }

  /** Most jobs wait for a moment only. */
  #tellWaiting(message: string | undefined): void {
    clearTimeout(this.#waiting);
    if (message === undefined) return;
    this.#waiting = setTimeout(
      () => process.stderr.write(`muster: waiting: ${message}\n`),
      tellWaitingAfterMs,
    );
    this.#waiting.unref();
  }

  #interrupt(): void {
    this.#interrupts++;
    this.#act(this.#kill(this.#interrupts > 1));
  }

  #kill(now: boolean): Promise<unknown> {
    return this.#client.request('POST', groupVerbPath(this.#key, 'kill'), { now });
  }

  #suspend(suspend: boolean): void {
    this.#stopAsked = suspend;
    const patch = { type: 'merge', patch: { spec: { suspend } } } as const;
    this.#act(this.#client.store.patch(processGroupType, this.#key, patch));
  }

  #act(doing: Promise<unknown>): void {
    doing.catch((error: unknown) => process.stderr.write(`muster: ${textOfError(error)}\n`));
  }
}
