// The agent's certificate, key and authority, read from files once a start: the same for the hub and for other agents.
import { readFileSync } from 'node:fs';
import type { TlsPaths } from './config.ts';

export interface TlsMaterial {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export function readTls(paths: TlsPaths): TlsMaterial {
  const read = (what: string, path: string) => {
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new Error(
        `MUSTER_TLS_FILE: cannot read the ${what} ${path}: join the node to the cluster again`,
        { cause },
      );
    }
  };
  return {
    ca: read('authority', paths.ca),
    cert: read('certificate', paths.cert),
    key: read('key', paths.key),
  };
}
