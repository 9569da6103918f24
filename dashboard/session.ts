/**
 * How the page asks for things: paths beside its own, whatever it is served under, and the key that goes with the cookie of
 * `muster dashboard`. Behind `kubectl proxy`, or with a certificate in the browser, there is neither.
 */
const place = 'muster-page-key';

/** Trades the one-time code that came behind the `#` of the address for a cookie, and takes it out of the address. */
export async function signIn(): Promise<void> {
  const code = /^#login=([\w-]{20,})$/.exec(location.hash)?.[1];
  if (code === undefined) return;
  history.replaceState(null, '', location.pathname);
  const answer = await fetch('../login', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ code }),
  });
  if (!answer.ok) return;
  const { key } = (await answer.json()) as { key: string };
  localStorage.setItem(place, key);
}

export async function ask(path: string, signal: AbortSignal): Promise<Response> {
  const key = localStorage.getItem(place);
  return fetch(`../${path}`, {
    signal,
    cache: 'no-store',
    headers: key === null ? {} : { 'x-muster-page-key': key },
  });
}

export const groupPath = (namespace: string, name: string, verb: string): string =>
  `namespaces/${encodeURIComponent(namespace)}/processgroups/${encodeURIComponent(name)}/${verb}`;

/** What a refusal says, in the API's own words where it has any. */
export async function refusalOf(answer: Response): Promise<string> {
  try {
    const { message } = (await answer.json()) as { message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // Not the API, but something before it.
  }
  return `${answer.status} ${answer.statusText}`;
}
