/**
 * An agent in a Pod: it trades its service account's token for a certificate, runs with it, and comes back for another before that one
 * ends or when the authorities have changed. Each time the agent begins anew in this process, which no rank notices.
 */
import { X509Certificate } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { writePrivately } from '../../controllers/pki/key-files.ts';
import type { TlsPaths } from '../../node-agent/config.ts';

export interface Enrolment {
  readonly host: string;
  readonly port: number;
  readonly node: string;
  /** Both are replaced under our hands: by the kubelet. */
  readonly tokenFile: string;
  readonly caFile: string;
  readonly paths: TlsPaths;
}

const longestRetryMs = 15_000;
const lookAgainMs = 30_000;

export async function runEnrolled(
  enrolment: Enrolment,
  logger: Logger,
  run: (hubs: readonly string[], until: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  mkdirSync(dirname(enrolment.paths.cert), { recursive: true, mode: 0o700 });
  while (!signal.aborted) {
    const enrolled = await untilEnrolled(enrolment, logger, signal);
    if (enrolled === undefined) return;
    const old = new AbortController();
    const until = AbortSignal.any([signal, old.signal]);
    const watching = untilOld(enrolment.caFile, enrolled, until).then(() => old.abort());
    try {
      await run(enrolled.hubs, until);
    } finally {
      old.abort();
      await watching;
    }
    if (!signal.aborted) logger.info({ node: enrolment.node }, 'the certificate is renewed');
  }
}

interface Enrolled {
  readonly hubs: readonly string[];
  /** PEM of all authorities. */
  readonly bundle: string;
  readonly renewAtMs: number;
}

async function untilEnrolled(
  enrolment: Enrolment,
  logger: Logger,
  signal: AbortSignal,
): Promise<Enrolled | undefined> {
  for (let failures = 0, told = ''; !signal.aborted; failures++) {
    try {
      return await enrol(enrolment, signal);
    } catch (error) {
      if (signal.aborted) break;
      const text = error instanceof Error ? error.message : String(error);
      const { host, port, node } = enrolment;
      if (text !== told) logger.warn({ err: error, node, controllers: `${host}:${port}` }, 'not let in yet');
      told = text;
      const afterMs = Math.min(longestRetryMs, 500 * 2 ** Math.min(failures, 10));
      await pause(afterMs * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

async function enrol(
  { host, port, node, tokenFile, caFile, paths }: Enrolment,
  signal: AbortSignal,
): Promise<Enrolled> {
  const [token, bundle] = await Promise.all([readFile(tokenFile, 'utf8'), readFile(caFile, 'utf8')]);
  const [{ joinCluster }, { authorityHash }] = await Promise.all([
    import('../../controllers/pki/join-client.ts'),
    import('../../controllers/pki/certificate.ts'),
  ]);
  const caHash = certificatesOf(bundle).map((cert) => authorityHash(cert));
  if (caHash.length === 0) throw new Error(`MUSTER_CA_FILE: ${caFile} holds no certificate in PEM`);
  const joined = await joinCluster({ host, port, token: token.trim(), node, caHash }, signal);
  // What the cluster gave us to believe, and not what somebody answered.
  await writePrivately(paths.ca, bundle);
  await writePrivately(paths.key, joined.key);
  await writePrivately(paths.cert, joined.cert);
  const { validFromDate, validToDate } = new X509Certificate(joined.cert);
  const beganMs = Math.max(validFromDate.getTime(), Date.now());
  const renewAtMs = beganMs + ((validToDate.getTime() - beganMs) * 2) / 3;
  return { hubs: (joined.welcome['hub'] ?? `${host}:7360`).split(','), bundle, renewAtMs };
}

/** Two thirds of the certificate's time are over, or other authorities are to be believed. */
async function untilOld(caFile: string, { bundle, renewAtMs }: Enrolled, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && Date.now() < renewAtMs) {
    await pause(Math.min(lookAgainMs, renewAtMs - Date.now()), undefined, { signal }).catch(() => undefined);
    const now = await readFile(caFile, 'utf8').catch(() => bundle);
    if (now !== bundle && certificatesOf(now).length > 0) return;
  }
}

const certificatesOf = (pem: string): string[] =>
  pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
