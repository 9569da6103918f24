// The runbook: every reason that a condition can have, under the conditions of its kind, with what to do. The words are those of
// conditions.ts, so that none can be missing; which reason goes under which heading is said here, and a test holds it complete.
import { reasons, type Reason } from './conditions.ts';

interface Chapter {
  readonly title: string;
  readonly intro: string;
  readonly reasons: readonly Reason[];
}

export const chapters: readonly Chapter[] = [
  {
    title: 'Every kind: Reconciling and Stalled',
    intro:
      'What `kubectl wait`, Argo CD and Flux go by. `Stalled=True` means that nothing will happen until somebody changes something.',
    reasons: ['Progressing', 'Settled', 'InvalidSpec', 'NotSupported', 'NotStalled'],
  },
  {
    title: 'ProcessGroup: Placed',
    intro: '`kubectl describe pg NAME` shows the message with figures and names.',
    reasons: [
      'Placed',
      'NotPlacedYet',
      'Insufficient',
      'NoNetworkFree',
      'NoSuchNode',
      'NodeNotReady',
      'NodeCordoned',
      'NoNodeMatches',
      'Queued',
      'WaitingForDependency',
      'WaitingForCarriers',
      'CarriersTimedOut',
      'StoreDamaged',
      'CheckpointNotReady',
      'Released',
    ],
  },
  {
    title: 'ProcessGroup: Running',
    intro: 'An agent, a controller or the API server that is away harms no rank.',
    reasons: [
      'Starting',
      'RanksRunning',
      'SomeRanksEnded',
      'NotStarted',
      'Stopping',
      'Finished',
      'Restarting',
      'AgentUnreachable',
    ],
  },
  {
    title: 'ProcessGroup: Suspended',
    intro: '`status.holds` names everybody who holds the group.',
    reasons: ['Frozen', 'Vacated', 'Freezing', 'Vacating', 'Thawing', 'NotSuspended', 'Held'],
  },
  {
    title: 'ProcessGroup: Succeeded and Failed',
    intro: 'Both are final and exclude one another. Rank, node, exit code or signal stand in the message.',
    reasons: [
      'AllRanksSucceeded',
      'NotFinished',
      'RankFailed',
      'RankSignaled',
      'StartFailed',
      'SandboxFailed',
      'NotAllowed',
      'NodeLost',
      'CarrierLost',
      'RestoreFailed',
      'ImageDamaged',
      'LeaseExpired',
      'RestartsExhausted',
      'WallTimeExceeded',
      'CpuTimeExceeded',
      'MemoryExceeded',
      'ClientGone',
      'NodeDrained',
      'Saved',
      'Deleted',
      'Aborted',
    ],
  },
  {
    title: 'Checkpoint',
    intro: 'A checkpoint that fails leaves its group as it was.',
    reasons: [
      'Preparing',
      'Dumping',
      'Saving',
      'Restorable',
      'NotRestorable',
      'Copied',
      'TooFewCopies',
      'ImagesLost',
      'GroupNotRunning',
      'GroupNotFound',
      'DumpFailed',
      'StorageFull',
      'DeadlineExceeded',
      'PreflightFailed',
    ],
  },
  {
    title: 'Migration',
    intro: 'Ranks that could not be moved go on where they were; those that had moved already say PagesLost.',
    reasons: [
      'Moved',
      'NothingToDo',
      'Moving',
      'Following',
      'NotWholeSandboxes',
      'NoTarget',
      'TransferFailed',
      'PagesLost',
    ],
  },
  {
    title: 'NodeMonitor',
    intro: '`kubectl get nm` lists the nodes; the ranks of a node whose agent is away go on running.',
    reasons: [
      'AgentReady',
      'AgentGone',
      'AgentStopped',
      'AgentVersion',
      'ChecksPassed',
      'NoChecks',
      'CheckFailed',
      'DrainRequested',
      'DrainBlocked',
      'Drained',
      'NotDraining',
      'OwnerActive',
      'OwnerIdle',
      'Pressure',
      'NoPressure',
    ],
  },
];

export function generateRunbook(): string {
  const left = new Set<Reason>(Object.keys(reasons) as Reason[]);
  for (const reason of chapters.flatMap((chapter) => chapter.reasons)) left.delete(reason);
  if (left.size > 0) {
    throw new Error(
      `crds/generate-runbook.ts: these reasons of conditions.ts are in no chapter: ${[...left].join(', ')}`,
    );
  }
  const parts = chapters.map(({ title, intro, reasons: names }) => {
    const rows = names.map(
      (name) => `| <a id="${name.toLowerCase()}"></a>${name} | ${reasons[name].replaceAll('|', '\\|')} |`,
    );
    return `## ${title}\n\n${intro}\n\n| reason | what to do |\n| --- | --- |\n${rows.join('\n')}\n`;
  });
  return `<!-- Generated from crds/conditions.ts by crds/generate-runbook.ts. Do not edit: run \`make generate\`. -->

# Runbook

A condition says how an object stands and why: \`kubectl get pg NAME -o yaml\`, \`kubectl describe pg NAME\`. Its reason is one of
these; the message beside it names the rank, node, field or figure.

${parts.join('\n')}`;
}
