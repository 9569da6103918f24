/** Where agents of this machine find the control plane of their home. Ports are kept over restarts, as other machines know them. */
import { readFile } from 'node:fs/promises';
import { type Home, hubFileOf } from '../home.ts';

export interface HubFile {
  readonly host: string;
  readonly hubPort: number;
  readonly joinPort: number;
  /** Of the API over TLS; absent in files of earlier builds. */
  readonly apiPort?: number;
}

export async function readHubFile(home: Home): Promise<HubFile | undefined> {
  const text = await readFile(hubFileOf(home), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as HubFile);
}
