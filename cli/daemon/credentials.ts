/**
 * Kubeconfigs: how kubectl and other clients reach the API of this home, with a client certificate or a token for one user
 * with one role. Knows formats and files; what roles may do is `roles.ts`.
 */
import { join } from 'node:path';
import { dump } from 'js-yaml';
import type { KeyAndCertificate } from '../../controllers/pki/certificate.ts';
import { openCertificate, readIfThere, writePrivately } from '../../controllers/pki/key-files.ts';
import { StoreError } from '../../store/store-error.ts';
import type { ApiServer } from '../../store/server/api-server.ts';
import { kubeconfigOf, type Home } from '../home.ts';
import type { ApiTokens } from './api-tokens.ts';
import { administrators, roleGroup, roles, type Role } from './roles.ts';

export interface ApiAddress {
  readonly server: string;
  readonly authority: KeyAndCertificate;
}

type Credential = { readonly certificate: KeyAndCertificate } | { readonly token: string };

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function kubeconfigText(
  { server, authority }: ApiAddress,
  user: string,
  credential: Credential,
  namespace: string | undefined,
): string {
  const identity =
    'token' in credential
      ? { token: credential.token }
      : {
          'client-certificate-data': base64(credential.certificate.cert),
          'client-key-data': base64(credential.certificate.key),
        };
  return dump(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: 'muster', cluster: { server, 'certificate-authority-data': base64(authority.cert) } },
      ],
      users: [{ name: user, user: identity }],
      contexts: [
        {
          name: `${user}@muster`,
          context: { cluster: 'muster', user, ...(namespace === undefined ? {} : { namespace }) },
        },
      ],
      'current-context': `${user}@muster`,
    },
    { lineWidth: -1 },
  );
}

/** The owner's own kubeconfig, in the home; written anew only when it says something else. */
export async function writeOwnKubeconfig(home: Home, address: ApiAddress): Promise<void> {
  const subject = { kind: 'client', name: 'admin', groups: [administrators] } as const;
  const certificate = await openCertificate(home.pki, 'admin', address.authority, subject);
  const text = kubeconfigText(address, 'admin', { certificate }, undefined);
  if ((await readIfThere(kubeconfigOf(home))) !== text) await writePrivately(kubeconfigOf(home), text);
}

export interface CredentialRequest {
  readonly user: string;
  readonly role: Role;
  readonly namespace: string | undefined;
  readonly runAs: string | undefined;
  readonly ttlSeconds: number;
  readonly token: boolean;
}

const path = '/apis/subresources.muster.dev/v1alpha1/credentials';
const longestSeconds = 10 * 365 * 86_400;

/** Lets administrators make credentials, and end tokens, over the API. */
export function addCredentials(api: ApiServer, address: ApiAddress, tokens: ApiTokens): void {
  const resource = { group: 'subresources.muster.dev', resource: 'credentials' };
  api.routes.add('POST', path, async (context) => {
    await context.requireAccess({ verb: 'create', ...resource });
    const asked = credentialRequestOf(await context.json());
    context.sendJson(201, { kubeconfig: await made(asked, address, tokens) });
  });
  api.routes.add('DELETE', `${path}/{user}`, async (context) => {
    const { user = '' } = context.parameters;
    await context.requireAccess({ verb: 'delete', ...resource, name: user });
    context.sendJson(200, { revoked: await tokens.revoke(user) });
  });
}

async function made(asked: CredentialRequest, address: ApiAddress, tokens: ApiTokens): Promise<string> {
  const { user, role, namespace, runAs, ttlSeconds } = asked;
  const groups = [roleGroup(role, namespace), ...(runAs === undefined ? [] : [`muster:run-as:${runAs}`])];
  const credential = asked.token
    ? { token: await tokens.create({ name: user, groups }, ttlSeconds * 1000, Date.now()) }
    : { certificate: await certificateFor(address, user, groups, ttlSeconds) };
  return kubeconfigText(address, user, credential, namespace);
}

async function certificateFor(
  { authority }: ApiAddress,
  name: string,
  groups: readonly string[],
  ttlSeconds: number,
): Promise<KeyAndCertificate> {
  const { issue } = await import('../../controllers/pki/certificate.ts');
  return issue(authority, { kind: 'client', name, groups }, ttlSeconds / 86_400);
}

function credentialRequestOf(value: unknown): CredentialRequest {
  const asked = (value ?? {}) as Partial<Record<keyof CredentialRequest, unknown>>;
  const wrong = (field: string, expected: string): StoreError =>
    new StoreError('BadRequest', `${field}: expected ${expected}`);
  const { user, role, namespace, runAs, ttlSeconds, token } = asked;
  if (typeof user !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/.test(user) || user === 'admin') {
    throw wrong('user', 'a name of at most 63 letters, digits, ".", "_", "@" and "-", other than admin');
  }
  const known = roles.find((one) => one === role);
  if (known === undefined) throw wrong('role', `one of ${roles.join(', ')}`);
  if (
    namespace !== undefined &&
    (typeof namespace !== 'string' || !/^[a-z0-9][-a-z0-9]{0,62}$/.test(namespace))
  ) {
    throw wrong('namespace', 'the name of a namespace');
  }
  if (runAs !== undefined && (typeof runAs !== 'string' || !/^[1-9]\d{0,9}:[1-9]\d{0,9}$/.test(runAs))) {
    throw wrong('runAs', 'UID:GID, neither of them 0');
  }
  if (typeof ttlSeconds !== 'number' || !(ttlSeconds >= 60 && ttlSeconds <= longestSeconds)) {
    throw wrong('ttlSeconds', `a number from 60 to ${longestSeconds}`);
  }
  return { user, role: known, namespace, runAs, ttlSeconds, token: token === true };
}

/** Where tokens are kept. */
export const tokensFileOf = (home: Home): string => join(home.pki, 'api-tokens.json');
