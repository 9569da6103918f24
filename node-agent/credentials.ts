// As whom ranks run: the spec's uid, gid and groups against this node's allow-list, which stands whatever the API says.
// Pure; the account is looked up by the caller with the host's own name service.
import type { SandboxSpec } from '../wire/agent-types.ts';
import { refused } from './agent-error.ts';
import type { Account } from './mounts.ts';

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export function parseUidList(text: string): { first: number; last: number }[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part);
      if (!match)
        throw new Error(
          `MUSTER_CONFIG: allowedUids: "${part}" is not a uid or a range of uids such as 1000-65534`,
        );
      return { first: Number(match[1]), last: Number(match[2] ?? match[1]) };
    });
}

/** Throws AgentError NotAllowed when the node's administrator does not let ranks run as this uid. */
export function checkUid(uid: number, allowedUids: string, node: string, agentUid: number): void {
  if (agentUid !== 0 && uid !== agentUid) {
    throw refused(
      `node ${node}: ranks can run as uid ${String(agentUid)} only, since the agent is not root; the group asks for uid ${String(uid)}`,
    );
  }
  if (agentUid !== 0) return;
  if (parseUidList(allowedUids).some(({ first, last }) => uid >= first && uid <= last)) return;
  throw refused(
    `node ${node}: uid ${String(uid)} is not in this node's allowed uids "${allowedUids}"; ` +
      'run the group as another user (securityContext.runAsUser) or have the node administrator allow it',
  );
}

/** An account for a uid that the node does not know: it has no name of its own and no home. */
export function unnamedAccount(uid: number, gid: number): Account {
  return { name: `user${String(uid)}`, uid, gid, home: '/', shell: '/bin/sh' };
}

export function credentialsOf(spec: SandboxSpec, groupsOfNode: readonly number[]): Credentials {
  const groups = spec.groupsFromNode ? [...new Set([...groupsOfNode, ...spec.groups])] : spec.groups;
  return { uid: spec.uid, gid: spec.gid, groups };
}
