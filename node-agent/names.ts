// The names that a job's ranks publish (MPI_Publish_name and friends), kept by the agent of the job's root sandbox and
// written to its directory, so they outlive the agent. A request has a token of its own: repeated, it gets the same answer.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { NameReply, NameRequest } from '../wire/agent-types.ts';
import { errnoOf } from './agent-error.ts';

const answersKept = 4096;
const namesMax = 65_536;

export class Names {
  readonly #path: string;
  readonly #ports = new Map<string, string>();
  readonly #answers = new Map<string, NameReply>();

  constructor(path: string) {
    this.#path = path;
    try {
      const saved = JSON.parse(readFileSync(path, 'utf8')) as {
        ports: [string, string][];
        answers: NameReply[];
      };
      for (const [service, port] of saved.ports) this.#ports.set(service, port);
      for (const answer of saved.answers) this.#answers.set(keyOf(answer), answer);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && !(error instanceof SyntaxError)) throw error;
    }
  }

  answer(request: NameRequest): NameReply {
    const standing = this.#answers.get(keyOf(request));
    if (standing) return standing;
    const reply = { token: request.token, ordinal: request.ordinal, ...this.#carryOut(request) };
    if (request.kind === 'Lookup') return reply; // the same at any time
    this.#answers.set(keyOf(request), reply);
    for (const key of this.#answers.keys()) {
      if (this.#answers.size <= answersKept) break;
      this.#answers.delete(key);
    }
    this.#save();
    return reply;
  }

  #carryOut({ kind, service, port }: NameRequest): Pick<NameReply, 'rc' | 'port' | 'message'> {
    const known = this.#ports.get(service);
    switch (kind) {
      case 'Publish':
        if (known !== undefined) return { rc: 1, port: '', message: 'key_already_present' };
        if (this.#ports.size >= namesMax) return { rc: 1, port: '', message: 'too_many_names' };
        this.#ports.set(service, port);
        return { rc: 0, port: '', message: '' };
      case 'Unpublish':
        return this.#ports.delete(service)
          ? { rc: 0, port: '', message: '' }
          : { rc: 1, port: '', message: 'service_not_found' };
      case 'Lookup':
        return known === undefined
          ? { rc: 1, port: '', message: 'service_not_found' }
          : { rc: 0, port: known, message: '' };
      default:
        return { rc: 1, port: '', message: 'unknown_request' };
    }
  }

  #save(): void {
    const aside = `${this.#path}.new`;
    writeFileSync(aside, JSON.stringify({ ports: [...this.#ports], answers: [...this.#answers.values()] }), {
      mode: 0o600,
    });
    renameSync(aside, this.#path);
  }
}

function keyOf({ ordinal, token }: { ordinal: number; token: number }): string {
  return `${String(ordinal)}/${String(token)}`;
}
