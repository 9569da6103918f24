// Joins a sandbox's PMI port to its place in the job's tree: fences and names go up and down there, requests of the ranks come
// in here. An ended sandbox joins too, since it still carries the fences of those below it and what its ranks had put.
import { RankSet } from '../crds/rank-set.ts';
import type { SandboxId, SandboxSpec } from '../wire/agent-types.ts';
import type { AdoptedSandbox } from './adopted-sandbox.ts';
import type { Backend } from './backend.ts';
import { TreeMember } from './job-tree.ts';
import { PmiPort, type PmiEvents } from './pmi-port.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';

export interface PmiMembership {
  readonly member: TreeMember;
  readonly pmi: PmiPort;
}

/** `adopted` is null for one that has ended. The caller connects the member once the port is to hear of outcomes. */
export function joinTree(
  sandbox: { id: SandboxId; spec: SandboxSpec; directory: SandboxDirectory },
  adopted: AdoptedSandbox | null,
  backend: Backend,
  events: PmiEvents,
): PmiMembership {
  const { id, spec, directory } = sandbox;
  const appNumbers = new Map<number, number>();
  for (const program of spec.programs)
    for (const rank of RankSet.parse(program.coProcess ? '' : program.ranks))
      appNumbers.set(rank, program.appNumber);
  const member = new TreeMember({
    id,
    kvsName: spec.kvsName,
    tree: spec.tree ?? { parent: id.ordinal, parentNode: '', parentAddress: '', children: [] },
    namesPath: `${directory.path}/names`,
    events: { fence: (outcome) => pmi.fence(outcome), name: (reply) => pmi.name(reply) },
    reach: backend.tree.reach,
    log: backend.log,
  });
  const pmi = new PmiPort({
    shape: {
      kvsname: spec.kvsName,
      size: spec.size,
      ranks: [...RankSet.parse(spec.ranks)],
      appnumOf: (rank) => appNumbers.get(rank) ?? 0,
      mapping: spec.processMapping === '' ? null : spec.processMapping,
      universeSize: null,
      onRankDeath: spec.abortOnFailure ? 'Abort' : 'Continue',
      spawnEnabled: false,
    },
    journal: adopted?.journal() ?? directory.readJournal(),
    sandbox: adopted,
    tree: member,
    sockets: backend.pmi,
    ordinal: id.ordinal,
    events,
  });
  backend.tree.add(member);
  pmi.start();
  return { member, pmi };
}
